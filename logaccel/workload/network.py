"""Networks: named chains of layers, read from shape files or SCALE-Sim topologies."""

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, ValidationError, model_validator

from logaccel.documents import mapping_of, read_text
from logaccel.errors import WorkloadError
from logaccel.section import Section, no_such, problems
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
    """Validate a tree of plain values as a network.

    Raises WorkloadError, one line for every problem: `subject: key: …` and `subject: layer NAME: key: …`.
    """
    if not isinstance(tree, dict):
        raise WorkloadError(f"{subject}: must be a mapping of keys, got {tree!r}")
    faults: list[str] = []
    layers: list[Layer] = []
    trees = tree.get("layers", ())
    if "layers" in tree and not isinstance(trees, list | tuple):
        faults.append(f"{subject}: layers: must be a list of layers, got {trees!r}")
    elif "layers" in tree and not trees:
        faults.append(f"{subject}: layers: must hold at least one layer")
    else:
        layers = _valid_layers(trees, subject, faults)
    header = tree | {"layers": tuple(layers) or (_SOME_LAYER,)} if faults else tree | {"layers": tuple(layers)}
    if "layers" not in tree:
        del header["layers"]
    try:
        network = Network.model_validate(header)
    except ValidationError as error:
        faults.insert(0, problems(error, subject, Network))
    if faults:
        raise WorkloadError("\n".join(faults))
    return network


_SOME_LAYER = Layer(name="stands in for faulty ones", in_channels=1, out_channels=1)


def _valid_layers(trees: Sequence[object], subject: str, faults: list[str]) -> list[Layer]:
    """Return the layers that are valid; add a line for every problem of the others, called by name or number."""
    layers = []
    for number, tree in enumerate(trees, start=1):
        name = tree.get("name") if isinstance(tree, dict) else None
        try:
            layers.append(Layer.model_validate(tree))
        except ValidationError as error:
            called = name if isinstance(name, str) and name else number
            faults.append(problems(error, f"{subject}: layer {called}", Layer))
    return layers


def _read_yaml(path: Path, name: str) -> Network:
    if path.is_dir() or path.is_file():
        source, subject = path, str(path)
    else:
        source = files("logaccel") / "workload" / "networks" / f"{name}.yaml"  # type: ignore[assignment]
        subject = name
        if name not in shipped_networks():
            raise WorkloadError(no_such(name, "a network", shipped_networks()))
    tree = mapping_of(read_text(source, WorkloadError), subject, WorkloadError)
    return network_of({"name": Path(subject).stem} | tree, subject)
