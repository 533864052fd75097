"""The installed package works alone: wheel, empty folder, no checkout in sight."""

import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    done = subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return next(folder.glob("*.whl"))


def test_the_wheel_holds_data_and_no_tests(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    for name in (
        "logaccel/py.typed",
        "logaccel/arch_configs/shift_4b_16x16.yaml",
        "logaccel/workload/networks/alexnet.yaml",
        "logaccel/trace/digits/digits.npz",
        "logaccel/cost/profiles/horowitz_45nm.yaml",
    ):
        assert name in names
    assert len([name for name in names if name.startswith("logaccel/arch_configs/")]) == len(
        list((ROOT / "arch_configs").glob("*.yaml"))
    )
    assert not [name for name in names if name.startswith(("tests", "notebooks", "docs"))]
    assert zipfile.ZipFile(wheel).getinfo("logaccel/trace/digits/digits.npz").file_size < 1_000_000


@pytest.mark.slow
def test_an_installed_wheel_works_in_an_empty_folder(wheel: Path, tmp_path: Path) -> None:
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", str(wheel)], check=True)
    empty = tmp_path / "empty"
    empty.mkdir()
    tool = tmp_path / "venv" / "bin" / "logaccel"
    for arguments in (["simulate", "shift_4b_16x16"], ["simulate", "-n", "vgg16"], ["arch", "list"], ["schema"]):
        done = subprocess.run([tool, *arguments], cwd=empty, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    assert not list(empty.iterdir())
