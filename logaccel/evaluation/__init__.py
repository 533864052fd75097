"""Trained networks on the machine: formats of every tensor, chained execution, accuracy."""

from logaccel.evaluation.calibration import Calibration, calibrate
from logaccel.evaluation.evaluate import Evaluation, evaluate
from logaccel.evaluation.formats import GraphFormats, load_formats, save_formats
from logaccel.evaluation.run import GraphRun, run_graph

__all__ = [
    "Calibration", "Evaluation", "GraphFormats", "GraphRun", "calibrate", "evaluate", "load_formats", "run_graph",
    "save_formats",
]  # fmt: skip
