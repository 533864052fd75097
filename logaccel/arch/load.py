"""How architecture files are found and read: by path, or by the name of one that ships with the package."""

from importlib.resources import files
from pathlib import Path
from typing import Any

from logaccel.arch.model import Architecture, validated
from logaccel.documents import mapping_of, read_text
from logaccel.errors import ConfigError
from logaccel.section import no_such


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
    return validated({"name": Path(subject).stem} | mapping_of(text, subject), subject)


def _text_of(path: str | Path) -> tuple[str, str]:
    """Return the text of an architecture file and how to call it in messages."""
    file = Path(path)
    if file.is_dir() or file.is_file():
        return read_text(file), str(file)
    shipped = shipped_architectures()
    if str(path) in shipped:
        return shipped[str(path)], str(path)
    raise ConfigError(no_such(path, "an architecture", shipped))


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of architecture files, for editors."""
    schema = Architecture.model_json_schema()
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "logaccel architecture"
    schema["required"] = [key for key in schema["required"] if key != "name"]  # defaults to the file's name
    return schema
