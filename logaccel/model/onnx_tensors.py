"""The tensors of an ONNX file, its own and those beside it: every size is bounded before memory is taken for it.

External data (`model.onnx.data`, as PyTorch writes it) is read from regular files in the model's own folder, with
links followed before that is asked.
"""

from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from logaccel.workload.graph import MOST_ELEMENTS

LARGEST_FILE_BYTES = 2**31 - 1  # a protobuf message has no more; all that is read from other files neither
_ITEM_BYTES = {1: 4, 2: 1, 3: 1, 4: 2, 5: 2, 6: 4, 7: 8, 9: 1, 10: 2, 11: 8, 12: 4, 13: 8, 16: 2}  # by ONNX data type
_RAW = {1: "<f4", 10: "<f2", 11: "<f8", 6: "<i4", 7: "<i8"}


class TensorReader:
    """Tensors to arrays, for one model file; what is wrong with them is added to `faults`, one line each."""

    def __init__(self, model: Path, faults: list[str]) -> None:
        self.folder, self.faults, self.external_bytes = model.parent, faults, 0

    def array(self, tensor: Any, place: str) -> NDArray[Any] | None:
        """Return a tensor's values, or None where it has a fault."""
        try:
            return self._array(tensor)
        except OSError as error:
            self.faults.append(f"{place}: its data cannot be read: {error.strerror}: {error.filename}")
        except (ValueError, TypeError, AttributeError, OverflowError) as error:
            self.faults.append(f"{place}: {' '.join(str(error).split())}")
        return None

    def _array(self, tensor: Any) -> NDArray[Any]:
        from onnx import numpy_helper

        count = prod(tensor.dims)
        if any(size < 0 for size in tensor.dims) or count > MOST_ELEMENTS:
            raise ValueError(f"must have 0 … {MOST_ELEMENTS} elements, got the shape {list(tensor.dims)}")
        if tensor.data_type not in _ITEM_BYTES:
            raise ValueError(f"data type {tensor.data_type} is not supported")
        wanted = count * _ITEM_BYTES[tensor.data_type]
        raw: bytes | None = None
        if tensor.data_location == 1 or tensor.external_data:
            raw = self._external({entry.key: entry.value for entry in tensor.external_data}, wanted)
        elif tensor.HasField("raw_data"):
            raw = tensor.raw_data
            if len(raw) != wanted:
                raise ValueError(f"{list(tensor.dims)} does not fit its {len(raw)} bytes")
        try:
            if raw is not None and tensor.data_type in _RAW:  # without one more copy
                values = np.frombuffer(raw, _RAW[tensor.data_type]).reshape(tuple(tensor.dims))
            else:
                inner = (
                    tensor if raw is None else type(tensor)(dims=tensor.dims, data_type=tensor.data_type, raw_data=raw)
                )
                values = np.asarray(numpy_helper.to_array(inner))
        except (ValueError, TypeError, AttributeError, OverflowError) as error:
            raise ValueError(f"cannot be read: {error}") from None
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            bounds = values[~np.isfinite(values)]
            if values.size > 1 or np.isnan(bounds).any():
                raise ValueError(f"must be finite, got {bounds.flat[0]}")
        return values

    def _external(self, entries: dict[str, str], wanted: int) -> bytes:
        """Return the bytes of a tensor that lies in another file."""
        location, offset, length = entries.get("location", ""), entries.get("offset", "0"), entries.get("length")
        file = Path(location.replace("\\", "/"))
        if not location or file.is_absolute() or ".." in file.parts or "\0" in location:
            raise ValueError(f"external data: location: must be a file in the folder of the model, got {location!r}")
        for key, text in (("offset", offset), ("length", length)):
            if text is not None and not (text.isascii() and text.isdigit() and len(text) < 19):
                raise ValueError(f"external data: {key}: must be a number of bytes, got {text!r}")
        if length is not None and int(length) != wanted:
            raise ValueError(f"external data: length: its shape and type take {wanted} bytes, got {length}")
        self.external_bytes += wanted
        if self.external_bytes > LARGEST_FILE_BYTES:
            raise ValueError(f"external data: must be at most {LARGEST_FILE_BYTES} bytes in all")
        try:
            path = (self.folder / file).resolve()
        except RuntimeError:  # that is how Python 3.11 and 3.12 say it
            raise ValueError(f"external data: location: {location!r} is a link to itself") from None
        if not path.exists():
            raise ValueError(f"its data lies in another file, which is missing: {self.folder / file}")
        if not path.is_relative_to(self.folder.resolve()) or not path.is_file():
            raise ValueError(f"external data: location: must be a file in the folder of the model, got {location!r}")
        size = path.stat().st_size
        if int(offset) + wanted > size:
            raise ValueError(f"external data: {wanted} bytes at {offset} do not fit {location!r} of {size} bytes")
        with path.open("rb") as data:
            data.seek(int(offset))
            return data.read(wanted)
