"""Value change dumps: written by the simulator, read back from it or from a Verilog simulator.

A `Waveform` holds changes only: of every signal, by its full name, the times in nanoseconds and the bits, high
bit first, x for unknown. Signals keep their order.
"""

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from logaccel.errors import ConfigError

Name = tuple[str, ...]
Changes = list[tuple[int, str]]
_UNITS_NS = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}
_PER_NS = {"ps": 10**3, "fs": 10**6}


@dataclass(eq=False)
class Waveform:
    """bits[name]: width; changes[name]: (time_ns, bits) in order of time."""

    bits: dict[Name, int] = field(default_factory=dict)
    changes: dict[Name, Changes] = field(default_factory=dict)

    def add(self, name: Name, bits: int) -> None:
        """Declare a signal."""
        self.bits[name] = bits
        self.changes[name] = []

    def set(self, name: Name, time_ns: int, value: str) -> None:
        """Note a value; it is kept if it differs from the one before."""
        changes = self.changes[name]
        if not changes or changes[-1][1] != value:
            changes.append((time_ns, value))

    def at(self, name: Name, time_ns: int) -> str:
        """Return the bits that stand at a time."""
        changes = self.changes[name]
        index = bisect_right(changes, time_ns, key=lambda change: change[0]) - 1
        return changes[index][1] if index >= 0 else "x" * self.bits[name]

    def window(self, first_ns: int, end_ns: int) -> "Waveform":
        """Return what happens from first_ns up to but not at end_ns; each signal's first value stands at first_ns."""
        cut = Waveform(dict(self.bits))
        for name, changes in self.changes.items():
            inside = [change for change in changes if first_ns < change[0] < end_ns]
            cut.changes[name] = [(first_ns, self.at(name, first_ns)), *inside]
        return cut

    def shifted(self, by_ns: int) -> "Waveform":
        """Return the same with all times moved."""
        moved = {name: [(time + by_ns, value) for time, value in changes] for name, changes in self.changes.items()}
        return Waveform(dict(self.bits), moved)


def write_vcd(waveform: Waveform, comment: str) -> str:
    """Return the text of a dump: nothing in it depends on when it was written."""
    codes = {name: _code(n) for n, name in enumerate(waveform.bits)}
    lines = [f"$comment {comment} $end", "$timescale 1 ns $end", *_scopes(waveform, codes), "$enddefinitions $end"]
    events: dict[int, list[str]] = {}
    for name, changes in waveform.changes.items():
        for time, value in changes:
            events.setdefault(time, []).append(_change(value, codes[name]))
    for n, time in enumerate(sorted(events)):
        lines.append(f"#{time}")
        lines += ["$dumpvars", *events[time], "$end"] if n == 0 else events[time]
    return "\n".join(lines) + "\n"


def read_vcd(path: Path) -> Waveform:
    """Read a dump. Raises ConfigError where the file is none, or uses real numbers."""
    try:
        text = path.read_text(encoding="ascii", errors="replace")
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    head, found, body = text.partition("$enddefinitions")
    if not found:
        raise ConfigError(f"{path}: not a value change dump: no $enddefinitions")
    try:
        waveform, names, factor = _read_head(head.split())
        _read_changes(body.partition("$end")[2], waveform, names, factor)
    except (ValueError, IndexError, KeyError) as error:
        raise ConfigError(f"{path}: not a value change dump: {error}") from None
    return waveform


def first_difference(one: Waveform, other: Waveform) -> tuple[int, Name] | None:
    """Return time and name of the first difference of two dumps with the same signals, change by change.

    Raises KeyError for a signal that `other` lacks.
    """
    earliest: tuple[int, Name] | None = None
    for name, changes in one.changes.items():
        theirs = other.changes[name]
        if changes == theirs:
            continue
        pairs = zip(changes, theirs, strict=False)
        different = next((min(a[0], b[0]) for a, b in pairs if a != b), None)
        if different is None:  # one goes on where the other has ended
            longer = max(changes, theirs, key=len)
            different = longer[min(len(changes), len(theirs))][0]
        if earliest is None or different < earliest[0]:
            earliest = different, name
    return earliest


def _code(number: int) -> str:
    """Return the short name of a signal in the file: digits are the printable characters."""
    text = ""
    while True:
        text += chr(33 + number % 94)
        number = number // 94 - 1
        if number < 0:
            return text


def _scopes(waveform: Waveform, codes: dict[Name, str]) -> Iterator[str]:
    """Yield declarations: each scope opened where the signal before it lies elsewhere."""
    inside: Name = ()
    for name, bits in waveform.bits.items():
        scope = name[:-1]
        common = next((n for n, (a, b) in enumerate(zip(inside, scope, strict=False)) if a != b), None)
        common = min(len(inside), len(scope)) if common is None else common
        yield from ("$upscope $end" for _ in inside[common:])
        yield from (f"$scope {_kind(part)} {part} $end" for part in scope[common:])
        inside = scope
        span = f" [{bits - 1}:0]" if bits > 1 else ""
        yield f"$var reg {bits} {codes[name]} {name[-1]}{span} $end"
    yield from ("$upscope $end" for _ in inside)


def _kind(scope: str) -> str:
    return "module" if scope in ("bench", "dut", "array", "pe", "product_pipeline") else "begin"


def _change(value: str, code: str) -> str:
    if len(value) == 1:
        return f"{value}{code}"
    short = value.lstrip("0") or "0"
    if set(value) == {"x"}:
        short = "x"
    elif short[0] == "x":
        short = f"0{short}" if value[0] == "0" else value  # a leading x would be extended with x
    return f"b{short} {code}"


def _read_head(tokens: list[str]) -> tuple[Waveform, dict[str, list[Name]], float]:
    waveform, names, scope, factor = Waveform(), {}, [], 1.0  # type: ignore[var-annotated]
    at = 0
    while at < len(tokens):
        end = tokens.index("$end", at)
        keyword, fields = tokens[at], tokens[at + 1 : end]
        if keyword == "$scope":
            scope.append(fields[1])
        elif keyword == "$upscope":
            scope.pop()
        elif keyword == "$timescale":
            factor = _factor("".join(fields))
        elif keyword == "$var":
            if fields[0] == "real":
                raise ValueError(f"{fields[3]}: a real number")
            name = (*scope, fields[3].split("[")[0] if fields[3].endswith(":0]") else fields[3])
            waveform.add(name, int(fields[1]))
            names.setdefault(fields[2], []).append(name)
        at = end + 1
    return waveform, names, factor


def _factor(text: str) -> float:
    """Return nanoseconds per unit of time of a $timescale."""
    digits = text.rstrip("smunpf")
    unit = text[len(digits) :]
    return int(digits) * _UNITS_NS[unit] if unit in _UNITS_NS else int(digits) / _PER_NS[unit]


def _read_changes(body: str, waveform: Waveform, names: dict[str, list[Name]], factor: float) -> None:
    time = 0
    tokens = iter(body.split())
    for token in tokens:
        kind = token[0]
        if kind == "#":
            time = round(int(token[1:]) * factor)
        elif kind in "bB":
            _note(waveform, names[next(tokens)], time, token[1:].lower())
        elif kind in "01xXzZ":
            _note(waveform, names[token[1:]], time, kind.lower())
        elif kind == "$":
            continue
        else:
            raise ValueError(f"{token[:20]!r}: not a change")


def _note(waveform: Waveform, names: list[Name], time: int, value: str) -> None:
    """Note one change of all signals that share a code; leading zeros are spelt out, a leading x or z is repeated."""
    for name in names:
        filler = value[0] if value[0] in "xz" else "0"
        waveform.set(name, time, value.rjust(waveform.bits[name], filler))
