"""The .npz container of a trace: read within bounds and without unpickling, written whole or not at all."""

import os
import re
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

_MAGIC = b"\x93NUMPY"
_LONGEST_HEADER = 4096
_GREATEST_RATIO = 1100  # DEFLATE cannot expand a byte to more than 1032
_SLICE_BYTES = 2**20
_EPOCH = (1980, 1, 1, 0, 0, 0)
_HEADER = re.compile(r"\{'descr': '([^']{2,8})', 'fortran_order': (True|False), 'shape': \(([\d, ]*)\),? *\} *\n?")

UNREADABLE = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    OSError,
    ValueError,
    KeyError,
    IndexError,
    OverflowError,
    NotImplementedError,
    RuntimeError,
)
"""What zipfile raises for files that are damaged, or are not what they claim to be."""


class Container:
    """The members of one open .npz file; `read` promises never to allocate more than the file can hold."""

    def __init__(self, file: IO[bytes]) -> None:
        """Read the directory of the archive. Raises one of UNREADABLE."""
        self._size = file.seek(0, os.SEEK_END)
        self._zip = zipfile.ZipFile(file)
        self.members = {info.filename.removesuffix(".npy"): info for info in self._zip.infolist()}

    def read(self, name: str, descr: str, shape: tuple[int, ...] | None) -> NDArray[np.generic]:
        """Return a member as a read-only array of this numpy type (`<f4`) and shape (None: one axis, any length).

        Raises ValueError saying what the member is instead, or one of UNREADABLE if it is damaged.
        """
        info = self.members[name]
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) or info.flag_bits & 1:
            raise ValueError("must be stored or deflated, and not encrypted")
        packed = info.compress_size
        if packed > self._size or info.file_size > (packed if not info.compress_type else packed * _GREATEST_RATIO):
            raise ValueError(f"claims {info.file_size} bytes, more than the file can hold")
        with self._zip.open(info) as stream:
            found_descr, found_shape, header_bytes = _read_header(stream)
            if found_descr != descr:
                raise ValueError(f"must be of type {np.dtype(descr)}, got {_type_name(found_descr)}")
            if shape is None and len(found_shape) != 1:
                raise ValueError(f"must have one axis, got the shape {list(found_shape)}")
            if shape is not None and found_shape != shape:
                raise ValueError(f"must have the shape {list(shape)}, got {list(found_shape)}")
            count = 1
            for length in found_shape:
                count *= length
            data_bytes = count * np.dtype(descr).itemsize
            if info.file_size != header_bytes + data_bytes:
                raise ValueError(f"must hold {data_bytes} bytes of data, got {info.file_size - header_bytes}")
            values = np.empty(found_shape, dtype=descr)
            _read_into(stream, values.reshape(-1).view(np.uint8))
        values.flags.writeable = False
        return values


def _read_header(stream: IO[bytes]) -> tuple[str, tuple[int, ...], int]:
    """Return type, shape and length in bytes of the header of an .npy stream (versions 1 to 3)."""
    start = stream.read(8)
    if len(start) < 8 or start[:6] != _MAGIC or start[6] not in (1, 2, 3):
        raise ValueError("is not a numpy array")
    length_bytes = 2 if start[6] == 1 else 4
    length = int.from_bytes(stream.read(length_bytes), "little")
    if length > _LONGEST_HEADER:
        raise ValueError(f"has a header of {length} bytes, at most {_LONGEST_HEADER} are read")
    match = _HEADER.fullmatch(stream.read(length).decode("utf-8"))
    if match is None:
        raise ValueError("has a header that is not a plain numpy array's")
    shape = tuple(int(part) for part in match[3].split(",") if part.strip())
    if match[2] == "True" and len(shape) > 1:
        raise ValueError("must be in C order, got Fortran order")
    return match[1], shape, 8 + length_bytes + length


def _type_name(descr: str) -> str:
    try:
        dtype = np.dtype(descr)
    except (TypeError, ValueError):
        return repr(descr)
    return str(dtype)


def _read_into(stream: IO[bytes], target: NDArray[np.uint8]) -> None:
    """Fill the target, then read on to the end, where the checksum is compared."""
    filled = 0
    while piece := stream.read(_SLICE_BYTES):
        target[filled : filled + len(piece)] = np.frombuffer(piece, dtype=np.uint8)
        filled += len(piece)
    if filled < len(target):
        raise EOFError("ends too early")


def write_container(path: Path, arrays: Iterable[tuple[str, NDArray[np.generic]]]) -> None:
    """Write the arrays as an uncompressed .npz: the same bytes for the same arrays, whole or not at all.

    The file grows under another name beside its own and takes its name when it is complete. Raises OSError.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with zipfile.ZipFile(partial, "x") as archive:
            for name, array in arrays:
                info = zipfile.ZipInfo(f"{name}.npy", _EPOCH)
                info.create_system, info.external_attr = 3, 0o644 << 16  # as on Unix, whatever wrote it
                info.file_size = array.nbytes + _LONGEST_HEADER  # decides on ZIP64 before the member is written
                with archive.open(info, "w") as stream:
                    np.lib.format.write_array(stream, array, version=(1, 0), allow_pickle=False)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
