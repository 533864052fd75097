"""The registers of the Verilog, read off the register-level engine: same hierarchy, same names, every cycle.

The engine keeps a word and its flags in planes that all move; the hardware loads a register only where its
enable says so, and holds it otherwise. A `RegisterView` follows the engine one clock edge at a time and keeps
what each register of each PE would hold. Unknown: a register that has not been loaded since reset.

Not in the view, because the engine has no such registers: the held inputs of zero gating, and what lies
outside the array (feeds, edge registers, post-processing lanes).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from logaccel.engine import machine_passes as flag
from logaccel.engine.job import LayerJob
from logaccel.engine.machine_dataflows import run_block
from logaccel.engine.machine_state import snapshot
from logaccel.engine.register_level import build_blocks
from logaccel.formats import Format
from logaccel.pe import Datapath, Product
from logaccel.rtl.parameters import Parameters, word_of

Words = NDArray[np.int64]
Flags = NDArray[np.bool_]
SIGN_MAGNITUDE = (Product.DECODE, Product.LOGSUM)


@dataclass(eq=False)
class Register:
    """One register in every PE: parts[part][row, col] in the engine's words, known[row, col]."""

    bits: int
    parts: list[Words]
    known: Flags
    render: Callable[[list[int]], int]  # from the parts of one PE to the bits in the hardware

    def load(self, enable: Flags, parts: list[Words]) -> None:
        """Clock the register where it is enabled."""
        self.parts = [np.where(enable, new, old) for new, old in zip(parts, self.parts, strict=True)]
        self.known = self.known | enable

    def text(self, row: int, col: int) -> str:
        """Return the bits in one PE, high bit first; x: unknown."""
        if not self.known[row, col]:
            return "x" * self.bits
        return f"{self.render([int(part[row, col]) for part in self.parts]):0{self.bits}b}"


@dataclass(frozen=True, eq=False)
class Packed:
    """Registers side by side under one name, the first in the low bits."""

    members: list[Register]

    @property
    def bits(self) -> int:
        """Width of all together."""
        return sum(member.bits for member in self.members)

    def text(self, row: int, col: int) -> str:
        """Return the bits in one PE, high bit first; x: unknown."""
        return "".join(member.text(row, col) for member in reversed(self.members))


class RegisterView:
    """A machine and the registers of its PEs: `advance` clocks both."""

    def __init__(self, job: LayerJob, parameters: Parameters) -> None:
        """Build the array in reset; `parameters` are those of the hardware for this job."""
        self.job, self.machine = job, build_blocks(job, 1)[0]
        self.cycle = -1
        self._path, self._stages = job.datapath, job.array.pipeline_stages
        self._gated = job.datapath.zero_gating
        self._moving, self._still = ("weight", "activation") if job.dataflow == "is" else ("activation", "weight")
        self.plain: dict[str, Register] = {}
        self._words: list[Register] = []
        self._marks: list[list[Register]] = []  # of every stage: valid, first, last, live
        self._finished = np.zeros((job.array.rows, job.array.cols), bool)
        self.registers = self._build(parameters)

    def skip(self, cycle: int) -> None:
        """Let the machine alone run up to and including a cycle; registers loaded meanwhile stay unknown."""
        never = np.iinfo(np.int64).max
        run_block(*self.machine, self.cycle + 1, never, cycle)
        self.cycle = cycle

    def advance(self) -> None:
        """Clock the machine once and load the registers that its flags enable."""
        self.skip(self.cycle + 1)  # the compiled loop, for one cycle
        planes = {name: plane.astype(np.int64) for name, plane in snapshot(self.machine, self.cycle).items()}
        self._load_stages(planes)  # reads the operands of the cycle before
        finished = self._finished
        if self.job.dataflow == "os":
            self._load_accumulators(planes, finished)
            self._load_streamed(planes)
        else:
            self._load_stationary(planes)
            self._load("psum", planes["psum_flags"] != 0, self._sums(planes, "psum"))
            self._set("psum_valid", planes["psum_flags"] != 0)
        self._finished = self._finished_products(planes)

    def scope(self) -> tuple[str, ...]:
        """Return the hierarchy above the rows, from the bench down."""
        return ("bench", "dut", "output_stationary" if self.job.dataflow == "os" else "stationary", "array")

    def signals(self) -> Iterator[tuple[tuple[str, ...], Register | Packed, int, int]]:
        """Yield every register: its full name, itself, and the PE."""
        for row in range(self.job.array.rows):
            for col in range(self.job.array.cols):
                for name, register in self.registers.items():
                    place = (*self.scope(), f"row[{row}]", f"col[{col}]", "pe", *name.split("."))
                    yield place, register, row, col

    def _build(self, parameters: Parameters) -> dict[str, Register | Packed]:
        path, array = self._path, self.job.array
        formats = {"activation": path.activation, "weight": path.weight}

        def operand(name: str) -> Register:
            return self._register(formats[name].bits, lambda parts: operand_bits(parts[0], formats[name]))

        def psum() -> Register:
            return self._register(path.psum_bits, lambda parts: psum_bits(parts, path), path.lanes)

        plain = self.plain
        plain["valid"] = self._bit(True)
        if self.job.dataflow == "os":
            plain |= {"first": self._bit(), "last": self._bit(), "acc": psum()}
            plain |= {name: operand(name) for name in formats}
            if array.overlap:
                plain |= {"overlapped.shadow_valid": self._bit(True), "overlapped.shadow_moving": self._bit()}
                plain["overlapped.shadow"] = psum()
            else:
                plain["serial.acc_valid"] = self._bit(True)
        else:
            plain |= {"swap": self._bit(), "moving": operand(self._moving), "took": self._bit(True)}
            plain |= {"stationary": operand(self._still), "stationary_valid": self._bit(True)}
            if array.overlap:
                plain |= {"overlapped.shadow": operand(self._still), "overlapped.shadow_valid": self._bit(True)}
            plain |= {"psum": psum(), "psum_valid": self._bit(True)}
        if not self._stages:
            return dict(plain)
        term_bits, lane_bits = int(parameters["TERM_BITS"]), int(parameters["LANE_BITS"])
        reset = self.job.dataflow != "os"  # there nothing is ever first or last
        for _ in range(self._stages):
            render = partial(stage_bits, path=path, term_bits=term_bits)
            self._words.append(self._register(lane_bits + term_bits, render, 3))
            self._marks.append([self._bit(True), self._bit(reset), self._bit(reset), self._bit(True)])
        flags = [mark for marks in self._marks for mark in reversed(marks)]
        return plain | {
            "product_pipeline.stages.flags": Packed(flags),
            "product_pipeline.stages.words": Packed(self._words),
        }

    def _register(self, bits: int, render: Callable[[list[int]], int], parts: int = 1, reset: bool = False) -> Register:
        shape = (self.job.array.rows, self.job.array.cols)
        return Register(bits, [np.zeros(shape, np.int64) for _ in range(parts)], np.full(shape, reset), render)

    def _bit(self, reset: bool = False) -> Register:
        return self._register(1, lambda parts: parts[0], reset=reset)

    def _load(self, name: str, enable: Flags, parts: list[Words]) -> None:
        self.plain[name].load(enable, parts)

    def _set(self, name: str, word: Flags) -> None:
        self.plain[name].load(np.ones_like(word), [word.astype(np.int64)])

    def _sums(self, planes: dict[str, Words], name: str) -> list[Words]:
        return [planes[f"{name}_{lane}"] for lane in range(self._path.lanes)]

    def _load_streamed(self, planes: dict[str, Words]) -> None:
        flags = planes["flags"]
        valid = (flags & flag.VALID) != 0
        for name, mask in (("first", flag.FIRST), ("last", flag.LAST)):
            self._load(name, valid, [((flags & mask) != 0).astype(np.int64)])
        for name in ("activation", "weight"):
            self._load(name, valid, [planes[name]])
        self._set("valid", valid)

    def _load_accumulators(self, planes: dict[str, Words], finished: Flags) -> None:
        sums = self._sums(planes, "psum")
        if not self.job.array.overlap:
            full = planes["psum_flags"] != 0
            self._load("acc", full | finished, sums)  # one that has been drained keeps its last word
            self._set("serial.acc_valid", full)
            return
        self._load("acc", finished, sums)
        marks = planes["shadow_flags"]
        loaded, moving = (marks & flag.LOADED) != 0, (marks & flag.MOVING) != 0
        self._set("overlapped.shadow_valid", loaded)
        self._load("overlapped.shadow_moving", loaded, [moving.astype(np.int64)])
        self._load("overlapped.shadow", loaded, self._sums(planes, "shadow"))

    def _load_stationary(self, planes: dict[str, Words]) -> None:
        status, flags = planes["status"], planes["flags"]
        valid = (flags & flag.VALID) != 0
        chained, held = (status & flag.CHAIN_VALID) != 0, (status & flag.HELD_VALID) != 0
        self._set("took", (status & flag.TOOK) != 0)
        self._set("stationary_valid", held)
        self._load("stationary", held, [planes[self._still]])
        if self.job.array.overlap:
            self._set("overlapped.shadow_valid", chained)
            self._load("overlapped.shadow", chained, [planes[f"shadow_{self._still}"]])
        # Without shadow registers nothing swaps, but the stream's first operand carries the mark all the same.
        self._load("swap", valid, [self._swap_marks(planes)])
        self._load("moving", valid, [planes[self._moving]])
        self._set("valid", valid)

    def _swap_marks(self, planes: dict[str, Words]) -> Words:
        if self.job.array.overlap:
            return ((planes["flags"] & flag.SWAP) != 0).astype(np.int64)
        rows, cols = np.indices(planes["flags"].shape)
        sent = self.cycle - rows - cols  # in which cycle the controller sent the operand
        starts = self.machine.starts
        return np.isin(sent, starts[starts >= 0]).astype(np.int64)

    def _finished_products(self, planes: dict[str, Words]) -> Flags:
        name = f"product_flags_{self._stages}" if self._stages else "flags"
        return (planes[name] & flag.VALID) != 0

    def _load_stages(self, planes: dict[str, Words]) -> None:
        """Clock the pipeline registers, last first; the operand registers still hold what enters the first."""
        everywhere = np.ones((self.job.array.rows, self.job.array.cols), bool)
        for n in reversed(range(self._stages)):
            flags = planes[f"product_flags_{n + 1}"]
            valid, live = (flags & flag.VALID) != 0, (flags & flag.LIVE) != 0
            enable = live if self._gated else valid
            lane_and_sign = self._words[n - 1].parts[1:] if n else self._lane_and_sign()
            self._words[n].load(enable, [planes[f"product_{n + 1}"], *lane_and_sign])
            self._marks[n][0].load(everywhere, [valid.astype(np.int64)])
            self._marks[n][3].load(everywhere, [live.astype(np.int64)])
            if self.job.dataflow == "os":
                names = ("first", "last")
                before = self._marks[n - 1][1:3] if n else [self.plain[name] for name in names]
                for own, source in zip(self._marks[n][1:3], before, strict=True):
                    own.load(source.known, source.parts)

    def _lane_and_sign(self) -> list[Words]:
        """Return lane bits and sign of the products now formed: functions of the operands alone, zero or not."""
        path = self._path
        names = {self._moving: "moving", self._still: "stationary"} if self.job.dataflow != "os" else {}
        a, w = (self.plain[names.get(name, name)].parts[0] for name in ("activation", "weight"))
        steps = path.step_offset + path.activation_scale * abs(a) + path.weight_scale * abs(w)
        fractional = path.product not in (Product.MULTIPLY, Product.LOGSUM) and path.step_shift > 0
        lane = steps & (path.steps - 1) if fractional else np.zeros_like(a)
        negative = (a != 0) & (w != 0) & ((a < 0) != (w < 0))
        return [lane, negative.astype(np.int64)]


def operand_bits(code: int, number_format: Format) -> int:
    """Return the bits of an operand register."""
    return word_of(code, number_format)


def psum_bits(lanes: list[int], path: Datapath) -> int:
    """Return a raw psum as it stands in a register: bins or rails side by side, an empty rail all zeros."""
    word = 0
    for n, lane in enumerate(lanes):
        if path.product is Product.LOGSUM:
            rail = 0 if lane == flag.EMPTY_RAIL else (1 << path.acc_bits) | lane
            word |= rail << (n * (path.acc_bits + 1))
        else:
            word |= (lane & ((1 << path.acc_bits) - 1)) << (n * path.acc_bits)
    return word


def stage_bits(parts: list[int], path: Datapath, term_bits: int) -> int:
    """Return {lane, term} of a pipeline register from product, lane and sign."""
    product, lane, negative = parts
    if path.product in SIGN_MAGNITUDE:
        term = (negative << (term_bits - 1)) | abs(product)
    else:
        term = product & ((1 << term_bits) - 1)
    return (lane << term_bits) | term
