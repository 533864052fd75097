"""The shape of the package: one direction of imports, one place for each heavy library, nothing unpickled."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import logaccel
from logaccel.jit import KERNEL_ROOMS

ROOT = Path(logaccel.__file__).parent
SOURCES = sorted(ROOT.rglob("*.py"))
FLOORS = (
    ("errors", "section", "jit", "units"),
    ("formats", "documents"),
    ("pe", "dram"),
    ("arch", "workload"),
    ("trace", "schedule"),
    ("engine", "memory", "model"),
    ("cost", "rtl"),
    ("metrics", "quantization"),
    ("costed",),
    ("result",),
    ("planning",),
    ("mapping",),
    ("simulation", "cosimulation", "kept", "weights"),
    ("comparison", "evaluation"),
    ("report",),
    ("cli",),
    ("__main__",),
)
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
DISPLAY = "report"  # results may ask the report to draw them, but only when asked: inside a function


def room_of(path: Path) -> str:
    """Return the room of a file: its folder at the top of the package, or its own name there."""
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imports(path: Path) -> Iterator[tuple[str, bool]]:
    """Yield every imported module's full name, and whether the import runs when the file is imported."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    lazy = {
        id(node) for function in ast.walk(tree) if isinstance(function, ast.FunctionDef) for node in ast.walk(function)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, id(node) not in lazy) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module or "", id(node) not in lazy
            if node.module == "logaccel":
                yield from ((f"logaccel.{alias.name}", id(node) not in lazy) for alias in node.names)


def named(path: Path) -> set[str]:
    """Return the top-level packages that a file imports, anywhere in it."""
    return {module.split(".")[0] for module, _ in imports(path)}


def test_every_room_has_a_floor() -> None:
    assert {room_of(path) for path in SOURCES} - set(FLOOR) == {"__init__"}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_downwards(path: Path) -> None:
    room = room_of(path)
    if room == "__init__":  # names everything, loads nothing: tested by running it
        return
    for module, immediate in imports(path):
        parts = module.split(".")
        if parts[0] != "logaccel" or len(parts) == 1 or parts[1] not in FLOOR or parts[1] == room:
            continue
        below = FLOOR[parts[1]] < FLOOR[room]
        assert below or (parts[1] == DISPLAY and not immediate), f"{room} must not import {module}"


def test_one_file_names_numba() -> None:
    assert [path.name for path in SOURCES if "numba" in named(path)] == ["jit.py"]


def test_the_kernel_cache_knows_every_file_that_a_kernel_could_see() -> None:
    """A kernel compiles the constants and callees of other files into itself: their edits must change the key."""
    pending = [path for path in SOURCES if any(module.startswith("logaccel.jit") for module, _ in imports(path))]
    pending = [
        path for path in pending if path.stem not in ("kept", "balance")
    ]  # hash sources, ask for threads; compile nothing
    assert len(pending) > 10
    seen: set[Path] = set()
    while pending:
        path = pending.pop()
        if path in seen:
            continue
        seen.add(path)
        assert path.relative_to(ROOT).parts[0] in KERNEL_ROOMS, path
        for module, _ in imports(path):
            target = ROOT.parent / Path(*module.split("."))
            pending += [file for file in (target.with_suffix(".py"), target / "__init__.py") if file.is_file()]


def test_only_the_report_draws() -> None:
    assert {room_of(path) for path in SOURCES if "matplotlib" in named(path)} <= {"report"}


def test_the_register_level_engine_counts_its_own_cycles() -> None:
    """Neither it nor what it imports of its own room may see the scheduler's closed forms."""
    pending = [path for path in (ROOT / "engine").glob("*.py") if path.stem.startswith("register")]
    assert pending
    seen: set[Path] = set()
    while pending:
        path = pending.pop()
        seen.add(path)
        modules = {module for module, _ in imports(path)}
        assert "logaccel.schedule.folds" not in modules, path
        assert "count_activity" not in path.read_text(encoding="utf-8"), path
        own = {ROOT.parent / Path(*module.split(".")).with_suffix(".py") for module in modules if "engine." in module}
        pending += [module for module in own - seen if module.is_file() and module.stem != "job"]


def test_nothing_is_unpickled() -> None:
    for path in SOURCES:
        assert named(path).isdisjoint({"pickle", "dill", "joblib", "shelve"}), path
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
                assert isinstance(node.value, ast.Constant) and node.value.value is False, path


def test_files_stay_short() -> None:
    tests = Path(__file__).parent.rglob("*.py")
    limits = dict.fromkeys(SOURCES, 500) | dict.fromkeys(tests, 600)
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in limits}
    assert {path: length for path, length in lengths.items() if length > limits[path]} == {}


def test_importing_the_package_is_cheap() -> None:
    code = "import sys, logaccel; print([m for m in ('numba', 'matplotlib', 'numpy', 'jax') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() in ("[]", "['numpy']")


def test_every_public_name_loads() -> None:
    code = "import logaccel; print([n for n in logaccel.__all__ if getattr(logaccel, n, None) is None])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
