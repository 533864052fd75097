"""The controller: which fold streams, loads and drains in which cycle. A state machine, no formulas.

Every cycle it sends a *token* into a chain beside the array: (fold, index) of the operand that enters
row 0, of the stationary word that enters the chain, and the drain pulse. Tokens move one hop per row or
column, each operand memory reads at the token that stands at its lane, and the controller itself learns
that something is over by watching its last token pass a tap of that chain.
"""

from logaccel.engine.machine_state import (
    AGE,
    COLS,
    DRAIN_LEFT,
    LOAD_FOLD,
    LOAD_INDEX,
    LOAD_STEP,
    LOADED_FOLDS,
    PULSED,
    PULSES,
    ROWS,
    SHIFTS,
    SLICE,
    STARTED,
    STREAM_FOLD,
    STREAM_INDEX,
    Machine,
    Numbers,
    Settings,
)
from logaccel.jit import kernel


@kernel
def token(tokens: Numbers, kind: int, cycle: int) -> int:
    """Return what the controller sent in a cycle; before cycle 0 it sent nothing."""
    return tokens[kind, cycle & (tokens.shape[1] - 1)] if cycle >= 0 else -1


@kernel
def last_token_at(machine: Machine, settings: Settings, fold: int, cycle: int, hops: int) -> bool:
    """Return whether the last operand token of a fold stands `hops` hops down the chain in a cycle."""
    sent = cycle - hops
    return (
        token(machine.tokens, STREAM_FOLD, sent) == fold
        and token(machine.tokens, STREAM_INDEX, sent) == settings.length - 1
    )


@kernel
def send(machine: Machine, kind: int, cycle: int, fold: int, index: int) -> None:
    """Put one token into the chain; `kind` is followed by its index."""
    slot = cycle & (machine.tokens.shape[1] - 1)
    machine.tokens[kind, slot] = fold
    machine.tokens[kind + 1, slot] = index


@kernel
def control_output_stationary(machine: Machine, settings: Settings, cycle: int) -> None:
    """Send the tokens of one cycle (OS).

    Overlap: STREAM the next fold once this one has streamed and as many cycles passed as it has rows;
    PULSE when its last row has loaded its shadow. Serial: STREAM, wait until PE(r − 1, c − 1) has
    accumulated, DRAIN for as many cycles as the array has rows, next fold.
    """
    control, folds = machine.control, machine.folds
    fold, age = control[STARTED], control[AGE]
    if settings.overlap:
        if fold < folds.shape[0] and age >= settings.length and age >= folds[fold, ROWS]:
            fold, age = fold + 1, 0
        pulsed = control[PULSED]
        pulse = 0
        if pulsed < folds.shape[0]:
            hops = folds[pulsed, ROWS] + settings.stages
            if last_token_at(machine, settings, pulsed, cycle, hops):
                pulse, control[PULSED] = 1, pulsed + 1
        machine.tokens[PULSES, cycle & (machine.tokens.shape[1] - 1)] = pulse
    else:
        control[SHIFTS] = 1 if control[DRAIN_LEFT] > 0 else 0
        if control[DRAIN_LEFT] > 0:
            control[DRAIN_LEFT] -= 1
            if control[DRAIN_LEFT] == 0:
                fold, age = fold + 1, 0
        elif fold < folds.shape[0]:
            hops = folds[fold, ROWS] + folds[fold, COLS] - 1 + settings.stages
            if last_token_at(machine, settings, fold, cycle, hops):
                control[DRAIN_LEFT] = settings.array_rows
    if fold < folds.shape[0] and age < settings.length:
        send(machine, STREAM_FOLD, cycle, fold, age)
        if age == 0:
            machine.starts[fold] = cycle
    else:
        send(machine, STREAM_FOLD, cycle, -1, -1)
    control[STARTED], control[AGE] = fold, age + 1


@kernel
def control_stationary(machine: Machine, settings: Settings, cycle: int) -> None:
    """Send the tokens of one cycle (WS, IS): a streamer and a loader.

    The streamer starts a fold once its words are loaded, the fold before has streamed, and, for a further
    K slice, the first psum of the slice before can be read back. The loader starts on the next fold as
    soon as the fold before it streams (overlap) or its last psum stands in the bottom row (serial).
    """
    control, folds = machine.control, machine.folds
    started, age, loaded = control[STARTED], control[AGE], control[LOADED_FOLDS]
    if started < loaded:
        free = started == 0 or age >= settings.length
        ready = folds[started, SLICE] == 0 or age >= settings.array_rows + 2
        if free and ready:
            machine.starts[started] = cycle
            started, age = started + 1, 0
    if started > 0 and age < settings.length:
        send(machine, STREAM_FOLD, cycle, started - 1, age)
    else:
        send(machine, STREAM_FOLD, cycle, -1, -1)

    step = control[LOAD_STEP]  # words already sent, or 0: idle
    if step == 0 and loaded < folds.shape[0]:
        if loaded == 0:
            begins = True
        elif settings.overlap:
            begins = started >= loaded
        else:
            hops = settings.array_rows + folds[loaded - 1, COLS] - 1 + settings.stages
            begins = last_token_at(machine, settings, loaded - 1, cycle, hops)
    else:
        begins = False
    if begins or step > 0:
        send(machine, LOAD_FOLD, cycle, loaded, step)
        step += 1
        if step == folds[loaded, ROWS]:
            loaded, step = loaded + 1, 0
    else:
        send(machine, LOAD_FOLD, cycle, -1, -1)
    control[STARTED], control[AGE] = started, age + 1
    control[LOADED_FOLDS], control[LOAD_STEP] = loaded, step


__all__ = ["LOAD_INDEX", "control_output_stationary", "control_stationary", "token"]
