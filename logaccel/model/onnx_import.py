"""ONNX files to models. Importing builds records; it runs nothing."""

from pathlib import Path

from logaccel.model.importing import import_operators
from logaccel.model.model import Model
from logaccel.model.onnx_file import read_onnx


def load_onnx(path: str | Path) -> Model:
    """Import an ONNX file. Raises WorkloadError naming node and attribute, one line for every problem."""
    return import_operators(read_onnx(Path(path)))
