"""How architecture files are found and read: by path, or by the name of one that ships with the package."""

from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from logaccel.arch.model import Architecture, validated
from logaccel.errors import ConfigError


def shipped_architectures() -> dict[str, str]:
    """Return the text of every architecture file that ships with logaccel, by name."""
    folder = files("logaccel") / "arch_configs"
    if not folder.is_dir():  # a source checkout keeps them beside the package
        folder = files("logaccel") / ".." / "arch_configs"
    found = {entry.name.removesuffix(".yaml"): entry for entry in folder.iterdir() if entry.name.endswith(".yaml")}
    return {name: found[name].read_text(encoding="utf-8") for name in sorted(found)}


def load_arch(path: str | Path) -> Architecture:
    """Read an architecture from a YAML file, or by the name of a shipped one (`shift_4b_16x16`).

    Raises ConfigError naming file, key, rule and value, one line for every problem in the file.
    """
    text, subject = _text_of(path)
    tree = _tree_of(text, subject)
    if not isinstance(tree, dict):
        shown = "nothing (the file is empty)" if tree is None else "a list" if isinstance(tree, list) else repr(tree)
        raise ConfigError(f"{subject}: must be a mapping of keys, got {shown}")
    return validated({"name": Path(subject).stem} | tree, subject)


class _UniqueKeyLoader(yaml.SafeLoader):
    """YAML keeps the last of two equal keys in silence; here the second one is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key '{key.value}' is given twice", key.start_mark)
            seen.add(str(key.value))
        return super().construct_mapping(node, deep)


def _tree_of(text: str, subject: str) -> Any:
    try:
        return yaml.load(text, _UniqueKeyLoader)  # a safe loader: plain values only
    except yaml.MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        problem = (error.problem or str(error)).replace("could not determine a constructor for the tag", "unknown tag")
        raise ConfigError(f"{subject}: not valid YAML: {line}{problem}") from None
    except yaml.reader.ReaderError as error:
        raise ConfigError(f"{subject}: not valid YAML: character {error.position}: {error.reason}") from None


def _text_of(path: str | Path) -> tuple[str, str]:
    """Return the text of an architecture file and how to call it in messages."""
    file = Path(path)
    if file.is_dir():
        raise ConfigError(f"{file}: is a folder, must be a file")
    if file.is_file():
        try:
            return file.read_text(encoding="utf-8"), str(file)
        except UnicodeDecodeError:
            raise ConfigError(f"{file}: not a text file in UTF-8") from None
        except OSError as error:
            raise ConfigError(f"{file}: cannot be read: {error.strerror}") from None
    shipped = shipped_architectures()
    if str(path) in shipped:
        return shipped[str(path)], str(path)
    raise ConfigError(f"{path}: no such file, nor an architecture of that name; shipped are {', '.join(shipped)}")


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of architecture files, for editors."""
    schema = Architecture.model_json_schema()
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "logaccel architecture"
    schema["required"] = [key for key in schema["required"] if key != "name"]  # defaults to the file's name
    return schema
