"""Trained networks on the machine: formats of every tensor, chained execution, accuracy."""

from logaccel.evaluation.evaluate import Evaluation, evaluate
from logaccel.evaluation.formats import GraphFormats, calibrate, load_formats, save_formats
from logaccel.evaluation.run import GraphRun, run_graph

__all__ = [
    "Evaluation", "GraphFormats", "GraphRun", "calibrate", "evaluate", "load_formats", "run_graph", "save_formats",
]  # fmt: skip
