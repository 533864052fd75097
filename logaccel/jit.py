"""The only place that names numba: how kernels are compiled, cached and threaded.

Kernels compile on first use and are cached on disk. Numba keys its cache on the file that holds the
kernel alone and does not notice an edited callee or constant in another file, so the cache folder's name
carries a hash of every file that a kernel could see (KERNEL_ROOMS): a stale kernel cannot be found, let alone run.
"""

import hashlib
import inspect
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar, cast

import llvmlite.binding
import numba
import numpy as np
from numba.extending import intrinsic
from numpy.typing import NDArray

Function = TypeVar("Function", bound=Callable[..., Any])
Scalar = TypeVar("Scalar", bound=np.generic)

parallel_range = numba.prange


# Every file that holds a kernel, and every file that one of them imports, at any remove, lies in one of these
# (tests/test_structure.py sees to it). Edits elsewhere, in reports say, leave compiled kernels valid.
KERNEL_ROOMS = (
    "__init__.py", "documents.py", "errors.py", "jit.py", "metrics.py", "section.py", "units.py",
    "arch", "dram", "engine", "formats", "pe", "schedule", "trace", "workload",
)  # fmt: skip


def sources_digest(*rooms: str) -> str:
    """Return a short hash over the names and contents of the Python sources of these rooms; of all without any."""
    root = Path(__file__).parent
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        if not rooms or path.relative_to(root).parts[0] in rooms:
            digest.update(str(path.relative_to(root)).encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def cache_folder() -> Path:
    """Return the folder of compiled kernels: LOGACCEL_CACHE_DIR, else the user's cache, else a temporary one."""
    chosen = os.environ.get("LOGACCEL_CACHE_DIR")
    base = Path(chosen) if chosen else Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "logaccel"
    for candidate in (base, Path(tempfile.gettempdir()) / f"logaccel-{os.getuid() if hasattr(os, 'getuid') else 0}"):
        folder = candidate / f"kernels-{sources_digest(*KERNEL_ROOMS)}"
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError:
            continue
        if os.access(folder, os.W_OK):
            return folder
    return base  # numba itself will say that it cannot write there


_FOLDER = str(cache_folder())


def _compile(function: Function, **options: Any) -> Function:
    """Compile lazily with our own cache folder, leaving the settings of the user's other kernels alone."""
    theirs = numba.config.CACHE_DIR
    numba.config.CACHE_DIR = _FOLDER
    try:
        return numba.njit(cache=True, nogil=True, **options)(function)
    finally:
        numba.config.CACHE_DIR = theirs


def kernel(function: Function) -> Function:
    """Compile a kernel: integer arithmetic wraps as in C, floating point is never reordered."""
    return _compile(function)


def fused_kernel(function: Function) -> Function:
    """Compile a kernel whose floating-point products may fuse with the additions that follow: one rounding, not two.

    The order of the additions stays. For sums that a bound proves exact nothing rounds at all.
    """
    return _compile(function, fastmath={"contract"})


def inlined_kernel(function: Function) -> Function:
    """Compile a kernel into its callers: for one that takes many arrays, each of which costs ten arguments a call."""
    return _compile(function, forceinline=True)


def parallel_kernel(function: Function) -> Function:
    """Compile a kernel whose `parallel_range` loops use all threads; results never depend on how many."""
    return _compile(function, parallel=True)


def read_only(array: NDArray[Scalar]) -> NDArray[Scalar]:
    """Return a view that cannot be written.

    To a kernel, arrays that can and arrays that cannot are two types, and it would be compiled for each.
    """
    view = array.view()
    view.flags.writeable = False
    return view


def _shift(instruction: str, word: Any, places: Any) -> Any:
    """Return signature and code of a shift that stays in the width of the word."""

    def generate(context: Any, builder: Any, _: Any, arguments: Any) -> Any:
        value, amount = arguments
        return getattr(builder, instruction)(value, context.cast(builder, amount, places, word))

    return word(word, places), generate


def _compiled_left(_: Any, word: Any, places: Any) -> Any:
    return _shift("shl", word, places)


def _compiled_right(_: Any, word: Any, places: Any) -> Any:
    return _shift("ashr", word, places)


def _compiled_bits(_: Any, value: Any) -> Any:
    """Return signature and code of the integer with the bits of a float."""
    integer = numba.types.int32 if value == numba.types.float32 else numba.types.int64

    def generate(context: Any, builder: Any, _: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], context.get_value_type(integer))

    return integer(value), generate


def _interpreted_bits(value: Any) -> Any:
    return value.view(np.int32 if value.dtype == np.float32 else np.int64)


def _interpreted_left(word: Any, places: Any) -> Any:
    return np.left_shift(word, word.dtype.type(places))


def _interpreted_right(word: Any, places: Any) -> Any:
    return np.right_shift(word, word.dtype.type(places))


# word << places and word >> places (signs kept) in the width of the word, 0 <= places < that width. The operators
# of Python, as numba compiles them, first widen a 32-bit word to 64 bits, and the compiler cannot always prove
# that it may shift in 32-bit lanes after all: half the speed.
shift_left: Callable[[Any, Any], Any] = _interpreted_left if numba.config.DISABLE_JIT else intrinsic(_compiled_left)
shift_right: Callable[[Any, Any], Any] = _interpreted_right if numba.config.DISABLE_JIT else intrinsic(_compiled_right)

float_bits: Callable[[Any], Any] = _interpreted_bits if numba.config.DISABLE_JIT else intrinsic(_compiled_bits)


def emitted_kernel(emit: Callable[..., None], plain: Callable[..., Any]) -> Callable[..., Any]:
    """Return a kernel made of the very instructions that emit(builder, …) writes, or `plain` where nothing compiles.

    Of an array `emit` gets a pointer to its first element, of an integer its 64 bits; it leaves the builder where the
    caller's instructions follow. Arrays are contiguous.
    """
    if numba.config.DISABLE_JIT:
        return plain

    def compiled(_: Any, *arguments: Any) -> Any:
        kinds = [own if isinstance(own, numba.types.Array) else numba.types.int64 for own in arguments]

        def generate(context: Any, builder: Any, __: Any, values: Any) -> Any:
            arrays = [isinstance(kind, numba.types.Array) for kind in kinds]
            emit(builder, *(
                context.make_array(kind)(context, builder, value).data if array else value
                for kind, value, array in zip(kinds, values, arrays, strict=True)
            ))  # fmt: skip
            return context.get_dummy_value()

        return numba.types.void(*kinds), generate

    # The parameters are those of `plain`: numba asks for them by name.
    own = inspect.Parameter("context", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    named = [own, *(one.replace(annotation=own.empty) for one in inspect.signature(plain).parameters.values())]
    compiled.__signature__ = inspect.Signature(named)  # type: ignore[attr-defined]
    return cast(Callable[..., Any], intrinsic(compiled))


def host_registers() -> tuple[int, int]:
    """Return the bytes of a vector register and how many there are, of the machine that kernels are compiled for."""
    features = llvmlite.binding.get_host_cpu_features()
    if features.get("avx512f"):
        return 64, 32
    return (32, 16) if features.get("avx") else (16, 32 if features.get("neon") else 16)


def thread_count() -> int:
    """Return how many threads parallel kernels use."""
    return int(numba.get_num_threads())


@contextmanager
def one_thread() -> Iterator[None]:
    """Let parallel kernels run on one thread: for many small arrays, that threads would only wait for each other."""
    before = numba.get_num_threads()
    numba.set_num_threads(1)
    try:
        yield
    finally:
        numba.set_num_threads(before)
