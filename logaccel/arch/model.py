"""What an accelerator is: one frozen, validated record from which everything else is derived."""

from typing import Annotated, Any, Literal, Self, get_args

from pydantic import Field, ValidationError, model_validator

from logaccel.arch.memory import Memory
from logaccel.errors import ConfigError
from logaccel.formats import LinearWord, Word
from logaccel.pe import PE, WORD_LIMIT_BITS, AnyPE, LogsumPE
from logaccel.section import Section, problems

Dataflow = Literal["os", "ws", "is"]
DataflowChoice = Literal["os", "ws", "is", "auto"]
Timing = Literal["physical", "scalesim"]
MOST_CHANNEL_SHIFT_BITS = 4  # 16 octaves between channels of one filter
LONGEST_REDUCTION = 2**20  # the K up to which a log-domain psum must fit the widest word


class PEArray(Section):
    """Geometry and timing of the PE array."""

    rows: Annotated[int, Field(ge=1, le=1024, description="R_a: PEs along the ofmap-pixel axis (OS) or K (WS, IS)")]
    cols: Annotated[int, Field(ge=1, le=1024, description="C_a: PEs along the channel (OS, WS) or pixel (IS) axis")]
    overlap: Annotated[
        bool, Field(description="hide drain (OS) or load (WS, IS) behind the neighbouring fold: a shadow register a PE")
    ] = False
    pipeline_stages: Annotated[
        int, Field(ge=0, le=8, description="D: registers between operand registers and accumulator; latency only")
    ] = 1


class PostProcessing(Section):
    """The lane below each column: combine, bias, ReLU, encode."""

    stages: Annotated[int, Field(ge=0, le=32, description="pipeline latency in cycles, paid once a layer")] = 3
    round_bits: Annotated[
        int, Field(ge=1, le=32, description="t: fraction bits that the log encoder compares with its thresholds")
    ] = 8
    channel_shift_bits: Annotated[
        int,
        Field(
            ge=0,
            le=MOST_CHANNEL_SHIFT_BITS,
            description="bits beside every bias word: s[m] of a channel whose psum has an LSB 2^s[m] finer; 0: no such "
            "shift",
        ),
    ] = 0

    @property
    def largest_channel_shift(self) -> int:
        """The largest s[m] that a lane takes."""
        return 2**self.channel_shift_bits - 1


class LayerSettings(Section):
    """What one layer does differently; what is not given stays as in the architecture."""

    pe: Annotated[AnyPE | None, Field(description="as in the architecture, replaced whole")] = None
    activation: Annotated[Word | None, Field(description="word of the layer's ifmap")] = None
    weight: Annotated[Word | None, Field(description="word of the layer's filters")] = None
    dataflow: Annotated[DataflowChoice | None, Field(description="what stays in the PE; auto: the best")] = None
    output: Annotated[Word | None, Field(description="word of the ofmap; of the last layer only")] = None


class Architecture(Section):
    """One accelerator: PE kind, words, array, dataflow. Immutable; `replace` varies it."""

    name: Annotated[str, Field(min_length=1, description="how results call it")]
    description: Annotated[str, Field(description="one line on what it is for")] = ""
    pe: Annotated[AnyPE, Field(description="how a PE multiplies and accumulates")]
    activation: Annotated[Word, Field(description="word of ifmaps and of the ofmaps that become ifmaps")]
    weight: Annotated[Word, Field(description="word of filters; always signed")]
    output: Annotated[Word, Field(description="word of an ofmap that feeds no layer (logits)")] = LinearWord(bits=16)
    array: Annotated[PEArray, Field(description="geometry and timing of the PE array")]
    dataflow: Annotated[
        DataflowChoice,
        Field(description="os, ws or is: psum, weight or activation stays in the PE; auto: the best of them by layer"),
    ] = "os"
    timing: Annotated[
        Timing, Field(description="physical: the machine's own cycles; scalesim: the count of SCALE-Sim 3.0.0")
    ] = "physical"
    memory: Annotated[
        Memory | None, Field(description="scratchpads and DRAM; without it operands are always ready")
    ] = None
    post: Annotated[PostProcessing, Field(description="the lane below each column")] = PostProcessing()
    clock_mhz: Annotated[float, Field(gt=0, le=10_000, description="clock, for time and power only")] = 500.0
    cost_profile: Annotated[str, Field(description="name or path of the price table")] = "horowitz_45nm"
    layers: Annotated[
        dict[str, LayerSettings], Field(description="settings of single layers, by name, or `first` and `last`")
    ] = {}

    @model_validator(mode="after")
    def _is_buildable(self) -> Self:
        faults = _faults("", self)
        for key, settings in self.layers.items():
            faults += [fault for fault in _faults(f"layers.{key}: ", _merged(self, settings)) if fault not in faults]
        if faults:
            raise ValueError("\n".join(faults))
        return self

    def faults(self) -> list[str]:
        """Return what no hardware could do with these words, settings of single layers left aside."""
        return _faults("", self)

    def for_layer(self, name: str, index: int, count: int) -> "Architecture":
        """Return the architecture as one layer sees it: `first`, then `last`, then its own name applied."""
        keys = [key for key, hit in (("first", index == 0), ("last", index == count - 1)) if hit] + [name]
        merged = self
        for settings in (self.layers[key] for key in keys if key in self.layers):
            merged = _merged(merged, settings)
        return merged

    def shifting_by_channel(self) -> "Architecture":
        """Return the architecture with lanes that shift by ofmap channel: its own, or the widest where it has none."""
        if self.post.channel_shift_bits:
            return self
        return self.replace(**{"post.channel_shift_bits": MOST_CHANNEL_SHIFT_BITS})

    @property
    def dataflows(self) -> tuple[Dataflow, ...]:
        """What may stay in a PE: one, or all three to choose from."""
        return get_args(Dataflow) if self.dataflow == "auto" else (self.dataflow,)

    @property
    def one_dataflow(self) -> Dataflow:
        """The dataflow, where it is not `auto`; a layer's is chosen before it runs (logaccel.mapping)."""
        assert self.dataflow != "auto", "chosen per layer"
        return self.dataflow

    def replace(self, **changes: Any) -> "Architecture":
        """Return a copy with keys changed; `array={"rows": 32}` or `**{"array.rows": 32}` reach into sections.

        A section given with another `kind` is replaced whole, otherwise its other keys stay. Raises
        ConfigError where the result is invalid.
        """
        tree = self.model_dump()
        for key, value in changes.items():
            _assign(tree, key.split("."), value.model_dump() if isinstance(value, Section) else value)
        return validated(tree, self.name)


def validated(tree: Any, subject: str) -> Architecture:
    """Validate a tree of plain values; a ConfigError lists every problem, each line starting with the subject."""
    try:
        return Architecture.model_validate(tree)
    except ValidationError as error:
        raise ConfigError(problems(error, subject, Architecture)) from None


def _assign(tree: dict[str, Any], path: list[str], value: Any) -> None:
    """Set tree[path] = value, merging sections of the same kind."""
    for key in path[:-1]:
        below = tree.get(key)
        tree[key] = dict(below) if isinstance(below, dict) else {}
        tree = tree[key]
    old = tree.get(path[-1])
    if isinstance(old, dict) and isinstance(value, dict) and value.get("kind", old.get("kind")) == old.get("kind"):
        value = old | value
    tree[path[-1]] = value


def _merged(arch: Architecture, settings: LayerSettings) -> Architecture:
    given = {key: value for key in LayerSettings.model_fields if (value := getattr(settings, key)) is not None}
    return arch.model_copy(update=given | {"layers": {}})


def _faults(place: str, arch: Architecture) -> list[str]:
    """Return what no hardware could do: operand kinds, signless weights, words beyond the limit."""
    rule = arch.pe.operand_rule(arch.activation.kind, arch.weight.kind)
    if rule is not None:
        return [f"{place}pe.kind: {rule}, got {arch.activation.kind} activations and {arch.weight.kind} weights"]
    if arch.weight.bits < 2:
        return [f"{place}weight.bits: must be at least 2 (weights are signed), got {arch.weight.bits}"]
    faults = []
    if isinstance(arch.pe, LogsumPE):
        steps = max(getattr(arch.activation, "steps_per_octave", 1), getattr(arch.weight, "steps_per_octave", 1))
        if 2**arch.pe.fraction_bits < steps:
            faults.append(
                f"{place}pe.fraction_bits: 2^fraction_bits must be at least steps_per_octave ({steps}), "
                f"got {arch.pe.fraction_bits}"
            )
            return faults
    for what, bits in _word_widths(arch.pe, arch):
        if bits > WORD_LIMIT_BITS:
            faults.append(f"{place}pe: {what} would need {bits} bits, must be at most {WORD_LIMIT_BITS}")
    return faults


def _word_widths(pe: PE, arch: Architecture) -> list[tuple[str, int]]:
    """Return the widest product and combined psum over both signednesses of the activation."""
    modes = [False] if arch.activation.bits < 2 else [False, True]
    paths = [pe.datapath(arch.activation.at(0, signed), arch.weight.at(0, True)) for signed in modes]
    return [
        ("a product", max(path.product_bits for path in paths)),
        ("a combined psum", max(path.combined_bits(LONGEST_REDUCTION) for path in paths)),
    ]
