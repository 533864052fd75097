"""The controller: which fold streams, loads and drains in which cycle. A state machine, no formulas.

Every cycle it sends a *token* into a chain beside the array: (fold, index) of the operand that enters
row 0, of the stationary word that enters the chain, and the drain pulse. Tokens move one hop per row or
column, each operand memory reads at the token that stands at its lane, and the controller itself learns
that something is over by watching its last token pass a tap of that chain.
"""

import numpy as np

from logaccel.engine import machine_state as at
from logaccel.engine.machine_state import Numbers
from logaccel.jit import inlined_kernel


@inlined_kernel
def token(tokens: Numbers, kind: int, cycle: int) -> int:
    """Return what the controller sent in a cycle; the slots of cycles before 0 still hold −1, nothing."""
    return tokens[kind, np.uint64(cycle & (tokens.shape[1] - 1))]


@inlined_kernel
def last_token_at(tokens: Numbers, fold: int, length: int, cycle: int, hops: int) -> bool:
    """Return whether the last operand token of a fold stands `hops` hops down the chain in a cycle."""
    sent = cycle - hops
    return token(tokens, at.STREAM_FOLD, sent) == fold and token(tokens, at.STREAM_INDEX, sent) == length - 1


@inlined_kernel
def send(tokens: Numbers, kind: int, cycle: int, fold: int, index: int) -> None:
    """Put one token into the chain; `kind` is followed by its index."""
    slot = cycle & (tokens.shape[1] - 1)
    tokens[kind, slot] = fold
    tokens[kind + 1, slot] = index


@inlined_kernel
def control_output_stationary(
    settings: Numbers, tokens: Numbers, control: Numbers, starts: Numbers, folds: Numbers, cycle: int
) -> None:
    """Send the tokens of one cycle (OS).

    Overlap: STREAM the next fold once this one has streamed and as many cycles passed as it has rows;
    PULSE when its last row has loaded its shadow. Serial: STREAM, wait until PE(r − 1, c − 1) has
    accumulated, DRAIN for as many cycles as the array has rows, next fold.
    """
    fold, age, length = control[at.STARTED], control[at.AGE], settings[at.LENGTH]
    if settings[at.OVERLAP]:
        if fold < folds.shape[0] and age >= length and age >= folds[fold, at.ROWS]:
            fold, age = fold + 1, 0
        pulsed = control[at.PULSED]
        pulse = 0
        if pulsed < folds.shape[0]:
            hops = folds[pulsed, at.ROWS] + settings[at.STAGES]
            if last_token_at(tokens, pulsed, length, cycle, hops):
                pulse, control[at.PULSED] = 1, pulsed + 1
        tokens[at.PULSES, cycle & (tokens.shape[1] - 1)] = pulse
    else:
        control[at.SHIFTS] = 1 if control[at.DRAIN_LEFT] > 0 else 0
        if control[at.DRAIN_LEFT] > 0:
            control[at.DRAIN_LEFT] -= 1
            if control[at.DRAIN_LEFT] == 0:
                fold, age = fold + 1, 0
        elif fold < folds.shape[0]:
            hops = folds[fold, at.ROWS] + folds[fold, at.COLS] - 1 + settings[at.STAGES]
            if last_token_at(tokens, fold, length, cycle, hops):
                control[at.DRAIN_LEFT] = settings[at.ARRAY_ROWS]
    if fold < folds.shape[0] and age < length:
        send(tokens, at.STREAM_FOLD, cycle, fold, age)
        if age == 0:
            starts[fold] = cycle
    else:
        send(tokens, at.STREAM_FOLD, cycle, -1, -1)
    control[at.STARTED], control[at.AGE] = fold, age + 1


@inlined_kernel
def control_stationary(
    settings: Numbers, tokens: Numbers, control: Numbers, starts: Numbers, folds: Numbers, cycle: int
) -> None:
    """Send the tokens of one cycle (WS, IS): a streamer and a loader.

    The streamer starts a fold once its words are loaded, the fold before has streamed, and, for a further
    K slice, the first psum of the slice before can be read back. The loader starts on the next fold as
    soon as the fold before it streams (overlap) or its last psum stands in the bottom row (serial).
    """
    started, age, loaded = control[at.STARTED], control[at.AGE], control[at.LOADED_FOLDS]
    length, rows = settings[at.LENGTH], settings[at.ARRAY_ROWS]
    if started < loaded:
        free = started == 0 or age >= length
        ready = folds[started, at.SLICE] == 0 or age >= rows + 2
        if free and ready:
            starts[started] = cycle
            started, age = started + 1, 0
    if started > 0 and age < length:
        send(tokens, at.STREAM_FOLD, cycle, started - 1, age)
    else:
        send(tokens, at.STREAM_FOLD, cycle, -1, -1)

    step = control[at.LOAD_STEP]  # words already sent, or 0: idle
    begins = False
    if step == 0 and loaded < folds.shape[0]:
        if loaded == 0:
            begins = True
        elif settings[at.OVERLAP]:
            begins = started >= loaded
        else:
            hops = rows + folds[loaded - 1, at.COLS] - 1 + settings[at.STAGES]
            begins = last_token_at(tokens, loaded - 1, length, cycle, hops)
    if begins or step > 0:
        send(tokens, at.LOAD_FOLD, cycle, loaded, step)
        step += 1
        if step == folds[loaded, at.ROWS]:
            loaded, step = loaded + 1, 0
    else:
        send(tokens, at.LOAD_FOLD, cycle, -1, -1)
    control[at.STARTED], control[at.AGE] = started, age + 1
    control[at.LOADED_FOLDS], control[at.LOAD_STEP] = loaded, step
