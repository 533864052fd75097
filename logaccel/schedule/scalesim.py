"""The cycle count that SCALE-Sim reports: a convention to compare with, not a machine.

Source: output of the public release SCALE-Sim 3.0.0. Folds F = ⌈S_R / R_a⌉ · ⌈S_C / C_a⌉, each of

    OS      T + R_a + C_a − 2
    WS, IS  T + 2·R_a + C_a − 2

cycles, one after another, edge folds at the price of full ones; the total is the zero-based last cycle,
F · L − 1. Rows, columns and stream T are those of logaccel.schedule.folds. SCALE-Sim knows no groups:
here they follow one another like folds.
"""

from logaccel.schedule.folds import FoldPlan


def scalesim_cycles(plan: FoldPlan) -> int:
    """Return the compute cycles of a layer by SCALE-Sim's convention; overlap and pipeline registers play no part."""
    array = plan.array
    loads = 1 if plan.dataflow == "os" else 2
    return plan.count * (plan.stream_length + loads * array.rows + array.cols - 2) - 1
