"""How accurate a trained network is on the machine, and what an image costs: batch by batch, resumable."""

import hashlib
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from logaccel import __version__
from logaccel.arch import Architecture
from logaccel.cost import Area, MemoryProvenance, Provenance, load_profile, memory_prices, memory_provenance
from logaccel.costed import Prices, area_between_layers, cost_between_layers, cost_layer, machine_area
from logaccel.errors import ConfigError, TraceError
from logaccel.evaluation.float_network import FloatNetwork
from logaccel.evaluation.formats import GraphFormats, check_image_array, check_images, formats_tree
from logaccel.evaluation.run import GraphRun, NodeRun
from logaccel.formats.encode import decode
from logaccel.metrics import error_powers
from logaccel.result import SCHEMA_VERSION, write_whole
from logaccel.schedule.activity import count_activity
from logaccel.trace import Tensor
from logaccel.workload.graph import Graph

STATE_VERSION = 2
IMAGES_AT_A_TIME = 64  # in memory while they are checked and hashed
NOTE = (
    "cycles and array energy: the layers on the array, and pooling, adds and concat on the lanes below it, one image "
    "at a time; float ops are not in them. System energy adds scratchpads, DRAM and leakage, where the architecture "
    "has a memory"
)


@dataclass
class NodeSums:
    """What one node added up over the images so far."""

    signal: float = 0.0
    noise: float = 0.0
    values: int = 0
    saturated: int = 0
    clipped: int = 0
    live_products: int = 0


@dataclass
class Sums:
    """Everything that is added up over images: small, whatever the data set."""

    images: int = 0
    agree: int = 0
    top1: int = 0
    top5: int = 0
    float_top1: int = 0
    float_top5: int = 0
    top1_won: int = 0  # right here, wrong in float
    top1_lost: int = 0
    top5_won: int = 0
    top5_lost: int = 0
    nodes: dict[str, NodeSums] = field(default_factory=dict)


@dataclass(frozen=True)
class ImageCosts:
    """Cycles and energy of one image by node, area of the machine, and where the prices come from."""

    nodes: dict[str, dict[str, Any]]
    area: Area
    sources: tuple[Provenance, ...]
    source_of_memory: MemoryProvenance | None  # None: no system figures


@dataclass(frozen=True)
class Evaluation:
    """Accuracy and cost of a model on an architecture. Shares are of `images`; *_error are standard errors.

    *_difference is the share on the machine less that of the float network. Both saw the same images, so its
    error is that of the paired differences: much smaller than those of the two shares.
    """

    network: str
    arch: Architecture  # with the settings of layers that the formats brought
    engine: str
    formats: GraphFormats
    sums: Sums
    costs: ImageCosts
    layers: tuple[str, ...]  # the nodes on the array
    labelled: bool
    off_array: tuple[str, ...]
    compared: bool = True  # with the float network
    lanes_widened: bool = False  # the formats' powers of two by channel brought post.channel_shift_bits
    version: str = __version__
    formats_origin: str = ""  # in words: how the formats were chosen

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, units in the keys."""
        sums, images = self.sums, self.sums.images
        shares = {"top1_agreement": sums.agree} if self.compared else {}
        if self.labelled:
            shares |= {"top1": sums.top1, "top5": sums.top5}
        if self.labelled and self.compared:
            shares |= {"float_top1": sums.float_top1, "float_top5": sums.float_top5}
        tree: dict[str, Any] = {
            "schema_version": SCHEMA_VERSION,
            "logaccel_version": self.version,
            "network": self.network,
            "arch": self.arch.name,
            "engine": self.engine,
            "images": images,
        }
        for key, count in shares.items():
            share = count / images
            tree[key] = share
            tree[f"{key}_error"] = math.sqrt(share * (1 - share) / images)
        if self.labelled and self.compared:
            for key, won, lost in (("top1", sums.top1_won, sums.top1_lost), ("top5", sums.top5_won, sums.top5_lost)):
                mean = (won - lost) / images
                tree[f"{key}_difference"] = mean
                tree[f"{key}_difference_error"] = math.sqrt(((won + lost) / images - mean * mean) / images)
        costs = self.costs.nodes.values()
        tree["cycles_per_image"] = sum(cost["cycles"] for cost in costs)
        tree["energy_array_pj_per_image"] = sum(cost["energy_array_pj"] for cost in costs)
        if all("energy_system_pj" in cost for cost in costs):
            tree["energy_system_pj_per_image"] = sum(cost["energy_system_pj"] for cost in costs)
        tree["area_array_um2"], tree["area_system_um2"] = self.costs.area.array_um2, self.costs.area.system_um2
        tree["off_array"] = list(self.off_array)
        tree["notes"] = [NOTE]
        if self.lanes_widened:
            bits = self.arch.post.channel_shift_bits
            tree["notes"].append(
                f"powers of two by ofmap channel need post.channel_shift_bits, which {self.arch.name} leaves out: its "
                f"lanes have {bits} here, and area and energy hold them"
            )
        tree["nodes"] = [
            {
                "name": name,
                "snr_db": _decibel(own),
                "saturated_share": own.saturated / own.values,
                "clipped_accumulations": own.clipped if name in self.layers else None,
                **self.costs.nodes.get(name, {}),
            }
            for name, own in sums.nodes.items()
        ]
        memory = self.costs.source_of_memory
        tree["cost"] = self.costs.area.provenance.to_dict()
        tree["cost_of_memory"] = None if memory is None else asdict(memory)
        tree["formats_origin"] = self.formats_origin
        tree["formats"] = formats_tree(self.formats)
        tree["architecture"] = self.arch.model_dump()
        return tree

    def to_json(self, path: str | Path) -> None:
        """Write `to_dict()` to a file, whole or not at all."""
        write_whole(path, json.dumps(self.to_dict(), indent=2, allow_nan=False) + "\n")

    def summary(self) -> str:
        """Return the tables as text."""
        from logaccel.report.evaluation import evaluation_renderables
        from logaccel.report.text import plain_text

        return plain_text(evaluation_renderables(self))


def evaluate(
    run: GraphRun,
    images: NDArray[Any],
    labels: NDArray[Any] | None = None,
    *,
    batch: int = 32,
    float_network: bool = True,
    state: str | Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Run images through the machine and the float network, `batch` at a time.

    float_network: False leaves it out, and with it agreement, signal to noise and the float accuracies.
    state: a file in which the sums are kept after every batch; a run with the same inputs goes on from it.
    Images may be memory-mapped: a batch is all that is in memory. All are checked before the first is run.
    Raises TraceError, which names the file of a memory-mapped array, or ConfigError.
    """
    if batch < 1:
        raise ConfigError(f"batch: must be at least 1, got {batch}")
    graph = run.model.graph
    check_image_array(np.asarray(images), graph.input_shape, _subject(images, "images"))
    if labels is not None:
        labels = check_labels(labels, len(images), graph)
    key = _fingerprint(run, images, labels, float_network)
    reference = FloatNetwork(run.model) if float_network else None
    sums = _resumed(state, key, len(images))
    while sums.images < len(images):
        if progress is not None:
            progress(sums.images, len(images))
        part = slice(sums.images, sums.images + batch)
        values = check_images(images[part], graph.input_shape)
        _add_batch(sums, (run, reference), values, None if labels is None else labels[part])
        if state is not None:
            write_whole(state, json.dumps({"version": STATE_VERSION, "key": key, "sums": asdict(sums)}) + "\n")
    if progress is not None:
        progress(len(images), len(images))
    layers = tuple(node.name for node in graph.layer_nodes)
    floats = tuple(node.name for node in graph.nodes if type(node).__name__ == "FloatOp")
    return Evaluation(
        network=graph.name,
        arch=run.arch,
        engine=run.engine,
        formats=run.formats,
        sums=sums,
        costs=_costs(run, sums),
        layers=layers,
        labelled=labels is not None,
        off_array=floats,
        compared=float_network,
        lanes_widened=run.lanes_widened,
    )


def _add_batch(
    sums: Sums, networks: tuple[GraphRun, FloatNetwork | None], images: Tensor, labels: NDArray[np.int64] | None
) -> None:
    run, reference = networks
    machine: NDArray[Any] = np.empty((0, 0))
    exact: NDArray[Any] | None = None
    values: Iterator[Any] = repeat((None, None)) if reference is None else reference.run(images)
    for done, (_, value) in zip(run.run(images), values, strict=reference is not None):
        _add_node(sums.nodes.setdefault(done.node.name, NodeSums()), done, value)
        if done.node.name == run.model.graph.output:
            machine = decode(done.codes, done.number_format).reshape(len(images), -1)
            exact = None if value is None else value.reshape(len(images), -1)
    sums.images += len(images)
    if exact is not None:
        sums.agree += int((machine.argmax(axis=1) == exact.argmax(axis=1)).sum())
    if labels is None:
        return
    for key, places in (("top1", 1), ("top5", 5)):
        own = _hits(machine, labels, places)
        counts = {key: own}
        if exact is not None:
            wanted = _hits(exact, labels, places)
            counts |= {f"float_{key}": wanted, f"{key}_won": own & ~wanted, f"{key}_lost": wanted & ~own}
        for name, hits in counts.items():
            setattr(sums, name, getattr(sums, name) + int(hits.sum()))


def _add_node(own: NodeSums, done: NodeRun, reference: Tensor | None) -> None:
    if reference is not None:
        signal, noise = error_powers(done.codes, done.number_format, reference)
        own.signal += signal
        own.noise += noise
    own.values += done.codes.size
    own.saturated += done.saturated
    if done.array is not None:
        own.clipped += done.array.clipped
        own.live_products += done.array.live_products or 0


def _hits(logits: NDArray[Any], labels: NDArray[np.int64], places: int) -> NDArray[np.bool_]:
    """Return for every image whether its label is among the first places; of equal logits the lower class is first."""
    order = np.argsort(-logits, axis=1, kind="stable")[:, :places]
    return np.asarray((order == labels[:, None]).any(axis=1))


def _costs(run: GraphRun, sums: Sums) -> ImageCosts:
    """Return what one image costs; live products are the mean over the images, rounded."""
    profile, archs = load_profile(run.arch.cost_profile), tuple(run.archs.values())
    prices = Prices(profile, memory_prices(profile, run.arch, archs))
    costs, sources = {}, []
    plan = run.plan()
    for planned in plan.layers:
        name = planned.layer.name
        live = round(sums.nodes[name].live_products / sums.images)
        cost = cost_layer(planned, planned.folds.compute_cycles, count_activity(planned.folds, live), prices)
        costs[name] = _figures(cost.total_cycles, cost.energy.array_pj, cost.energy.system_pj)
        sources.append(cost.energy.provenance)
    for work in cost_between_layers(run.between, prices, plan.kept):
        own = _figures(work.total_cycles, work.energy_pj, work.energy_system_pj)
        known = costs.get(work.name, {})  # a residual belongs to its layer
        costs[work.name] = {key: value + known.get(key, 0) for key, value in own.items()}
    between_um2 = area_between_layers(run.between, profile)
    area = machine_area(profile, run.arch, archs, between_um2)
    return ImageCosts(costs, area, (area.provenance, *sources), memory_provenance(profile, run.arch))


def _figures(cycles: int, array_pj: float, system_pj: float | None) -> dict[str, Any]:
    known = {} if system_pj is None else {"energy_system_pj": system_pj}
    return {"cycles": cycles, "energy_array_pj": array_pj, **known}


def _decibel(own: NodeSums) -> float | None:
    return 10 * math.log10(own.signal / own.noise) if own.noise > 0 and own.signal > 0 else None


def _subject(array: NDArray[Any], what: str) -> str:
    """Return the name of an array in messages: its file, where it lies in one."""
    return str(getattr(array, "filename", None) or what)


def check_labels(labels: NDArray[Any], images: int, graph: Graph) -> NDArray[np.int64]:
    """Return labels[N] as int64. Raises TraceError that names the file of a memory-mapped array."""
    values, subject = np.asarray(labels), _subject(labels, "labels")
    classes = int(np.prod(graph.shapes[graph.output]))
    if values.dtype.kind not in "iu":
        raise TraceError(f"{subject}: must hold integers, got {values.dtype}")
    if values.shape != (images,):
        raise TraceError(f"{subject}: must have the shape [{images}], one for each image, got {list(values.shape)}")
    if values.min() < 0 or values.max() >= classes:
        raise TraceError(f"{subject}: must be 0 … {classes - 1}, got {values.min()} … {values.max()}")
    return values.astype(np.int64)


def _fingerprint(run: GraphRun, images: NDArray[Any], labels: NDArray[Any] | None, compared: bool) -> str:
    """Return a hash of everything that the sums depend on, every byte of the images included; they are checked, too.

    The images are read in pieces; the hash does not depend on how they are cut.
    """
    digest = hashlib.sha256(
        repr((run.model.graph, run.arch, run.formats, images.shape, str(images.dtype), compared)).encode()
    )
    for own in run.model.parameters.values():
        digest.update(own.filter.tobytes())
        digest.update(own.bias.tobytes())
    subject = _subject(images, "images")
    for first in range(0, max(len(images), 1), IMAGES_AT_A_TIME):
        piece = np.ascontiguousarray(images[first : first + IMAGES_AT_A_TIME])
        check_images(piece, run.model.graph.input_shape, subject, first)
        digest.update(piece.tobytes())
    digest.update(b"" if labels is None else labels.tobytes())
    return digest.hexdigest()


def _resumed(state: str | Path | None, key: str, images: int) -> Sums:
    if state is None or not Path(state).exists():
        return Sums()
    try:
        tree = json.loads(Path(state).read_text(encoding="utf-8"))
        if tree["version"] != STATE_VERSION or tree["key"] != key:
            raise ConfigError(f"{state}: belongs to another evaluation; give another file or delete it")
        sums = Sums(**tree["sums"])
        sums.nodes = {name: NodeSums(**own) for name, own in tree["sums"]["nodes"].items()}
        if not 0 <= sums.images <= images:
            raise ValueError(f"images: must be 0 … {images}, got {sums.images}")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{state}: is no state of an evaluation: {error}") from None
    return sums
