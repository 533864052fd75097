"""Networks: named chains of layers, read from shape files or SCALE-Sim topologies."""

from importlib.resources import files
from pathlib import Path
from typing import Annotated, Self

import yaml
from pydantic import Field, ValidationError, model_validator

from logaccel.errors import WorkloadError
from logaccel.section import Section, problems
from logaccel.workload.layer import Layer
from logaccel.workload.scalesim import read_topology


class Network(Section):
    """Layers in the order in which they run; shapes only, no tensors."""

    name: Annotated[str, Field(min_length=1)]
    source: Annotated[str, Field(description="where the shapes come from")] = ""
    batch: Annotated[int, Field(ge=1, le=2**20)] = 1
    layers: Annotated[tuple[Layer, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _names_are_unique(self) -> Self:
        names = [layer.name for layer in self.layers]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"layers: names must be unique, got {', '.join(twice)} more than once")
        return self

    @property
    def macs(self) -> int:
        """Multiply–accumulates of all layers."""
        return sum(layer.matrix(self.batch).macs for layer in self.layers)


def shipped_networks() -> tuple[str, ...]:
    """Return the names of the network files that ship with logaccel."""
    folder = files("logaccel") / "workload" / "networks"
    return tuple(sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml")))


def load_network(name_or_path: str | Path, batch: int | None = None) -> Network:
    """Read a network: a shipped one by name (`alexnet`), a YAML file, or a SCALE-Sim topology CSV.

    Raises WorkloadError naming file, layer, rule and value, one line for every problem.
    """
    path = Path(name_or_path)
    if path.suffix.lower() == ".csv":
        network = network_of({"name": path.stem, "layers": read_topology(path)}, str(path))
    else:
        network = _read_yaml(path, str(name_or_path))
    return network if batch is None else network_of(network.model_dump() | {"batch": batch}, str(name_or_path))


def network_of(tree: object, subject: str) -> Network:
    """Validate a tree of plain values as a network."""
    if isinstance(tree, dict) and isinstance(tree.get("layers"), list):
        tree = tree | {"layers": tuple(tree["layers"])}
    try:
        return Network.model_validate(tree)
    except ValidationError as error:
        raise WorkloadError(problems(error, subject)) from None


def _read_yaml(path: Path, name: str) -> Network:
    if path.is_file():
        source, subject = path, str(path)
    else:
        source = files("logaccel") / "workload" / "networks" / f"{name}.yaml"  # type: ignore[assignment]
        subject = name
        if name not in shipped_networks():
            raise WorkloadError(
                f"{name}: no such file, nor a network of that name; shipped are {', '.join(shipped_networks())}"
            )
    try:
        tree = yaml.safe_load(source.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise WorkloadError(f"{subject}: cannot be read: {' '.join(str(error).split())}") from None
    if not isinstance(tree, dict):
        raise WorkloadError(f"{subject}: must be a mapping of keys, got {type(tree).__name__}")
    return network_of({"name": Path(subject).stem} | tree, subject)
