"""How the YAML files that a user writes are read: architectures, devices, prices and networks, with the same errors."""

from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

import yaml

from logaccel.errors import ConfigError, LogaccelError


class _UniqueKeyLoader(yaml.SafeLoader):
    """YAML keeps the last of two equal keys in silence; here the second one is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key '{key.value}' is given twice", key.start_mark)
            seen.add(str(key.value))
        return super().construct_mapping(node, deep)


def read_text(file: Path | Traversable, error: type[LogaccelError] = ConfigError) -> str:
    """Return the text of a file; a folder, bytes that are no text and what cannot be opened raise `error`."""
    if file.is_dir():
        raise error(f"{file}: is a folder, must be a file")
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise error(f"{file}: not a text file in UTF-8") from None
    except OSError as problem:
        raise error(f"{file}: cannot be read: {problem.strerror}") from None


def mapping_of(text: str, subject: str, error: type[LogaccelError] = ConfigError) -> dict[Any, Any]:
    """Return the keys that a YAML text holds; anything else raises `error`, in one line with its place."""
    tree = _tree_of(text, subject, error)
    if not isinstance(tree, dict):
        shown = "nothing (the file is empty)" if tree is None else "a list" if isinstance(tree, list) else repr(tree)
        raise error(f"{subject}: must be a mapping of keys, got {shown}")
    return tree


def _tree_of(text: str, subject: str, error: type[LogaccelError]) -> Any:
    try:
        return yaml.load(text, _UniqueKeyLoader)  # a safe loader: plain values only
    except yaml.MarkedYAMLError as fault:
        line = f"line {fault.problem_mark.line + 1}: " if fault.problem_mark else ""
        problem = (fault.problem or str(fault)).replace("could not determine a constructor for the tag", "unknown tag")
        raise error(f"{subject}: not valid YAML: {line}{problem}") from None
    except yaml.reader.ReaderError as fault:
        raise error(f"{subject}: not valid YAML: character {fault.position}: {fault.reason}") from None
