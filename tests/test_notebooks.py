"""The notebooks run without a warning, and the text they were saved with is the text they print."""

import copy
import importlib
import json
from pathlib import Path
from typing import Any

import pytest

import logaccel

pytestmark = pytest.mark.notebook

FOLDER = Path(__file__).parents[1] / "notebooks"
NOTEBOOKS = ("01_first_steps", "02_multiplier_versus_shifter")
LARGEST_BYTES = 400_000


def saved(name: str) -> Any:
    """Return a saved notebook; skip where the notebook extra is not installed."""
    nbformat = pytest.importorskip("nbformat", reason="needs the notebook extra")
    notebook = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)
    nbformat.validate(notebook)
    return notebook


def code_cells(notebook: Any) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def printed(cell: Any) -> list[str]:
    """Return what a cell printed and displayed as text: streams first, in one piece each, then results in order."""
    streams: dict[str, str] = {}
    shown = []
    for output in cell.outputs:
        if output.output_type == "stream":
            streams[output.name] = streams.get(output.name, "") + output.text
        elif output.output_type == "error":
            shown.append(f"{output.ename}: {output.evalue}")
        else:
            shown.append(f"{', '.join(sorted(output.data))}: {output.data.get('text/plain', '')}")
    return [f"{name}: {streams[name]}" for name in sorted(streams)] + shown


def executed(notebook: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run a copy without its outputs in an empty folder; an error in a cell raises CellExecutionError."""
    nbclient = pytest.importorskip("nbclient", reason="needs the notebook extra")
    pytest.importorskip("ipykernel", reason="needs the notebook extra")
    importlib.import_module("matplotlib.font_manager")  # builds its cache here, not with a remark in a notebook
    monkeypatch.setenv("PYTHONPATH", str(Path(logaccel.__file__).parents[1]))
    monkeypatch.setenv("IPYTHONDIR", str(folder / "ipython"))  # the user's own start-up files stay out
    monkeypatch.delenv("MPLBACKEND", raising=False)
    fresh = copy.deepcopy(notebook)
    for cell in code_cells(fresh):
        cell.outputs, cell.execution_count = [], None
    client = nbclient.NotebookClient(
        fresh, timeout=900, kernel_name="python3", record_timing=False, resources={"metadata": {"path": str(folder)}}
    )
    return client.execute()


def test_every_notebook_is_tested() -> None:
    assert tuple(sorted(path.stem for path in FOLDER.glob("*.ipynb"))) == NOTEBOOKS


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_saved_whole_and_in_order(name: str) -> None:
    notebook = saved(name)
    cells = code_cells(notebook)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert not any("execution" in cell.metadata for cell in cells)  # no time stamps
    assert any("image/png" in output.get("data", {}) for cell in cells for output in cell.outputs)
    content = (FOLDER / f"{name}.ipynb").read_bytes()
    assert len(content) < LARGEST_BYTES
    assert "http" not in json.dumps([cell.outputs for cell in cells])  # nothing is fetched to show it


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_saved_output_is_real(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notebook = saved(name)
    fresh = executed(notebook, tmp_path, monkeypatch)
    for number, (before, after) in enumerate(zip(code_cells(notebook), code_cells(fresh), strict=True), 1):
        complaints = [text for text in printed(after) if text.startswith("stderr: ")]
        assert complaints == [], f"cell {number} of {name} complains"
        assert printed(after) == printed(before), f"cell {number} of {name} prints something else than was saved"


def test_a_forged_output_is_noticed() -> None:
    cell = code_cells(saved(NOTEBOOKS[0]))[1]
    forged = copy.deepcopy(cell)
    forged.outputs[0].text = forged.outputs[0].text.replace("cycles", "cycle", 1)
    assert printed(forged) != printed(cell)
