"""Real networks on a whole image, every register of every PE in every cycle: codes, cycles, counts of both engines."""

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import network_tables
import numpy as np
import pytest

from logaccel import load_arch
from logaccel.evaluation import GraphRun, calibrate
from logaccel.model.onnx_import import load_onnx

pytest.importorskip("onnx")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def arrays(shared_data: Path) -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    spec = spec_from_file_location("load", shared_data / "load.py")
    assert spec is not None and spec.loader is not None
    load = module_from_spec(spec)
    spec.loader.exec_module(load)
    return network_tables.arrays(load, shared_data)


@pytest.mark.parametrize(
    ("network", "arch"),
    [("resnet20", "shift_4b_16x16"), ("resnet20", "logsum_4b_16x16"), ("squeezenet11", "shift_4b_16x16")],
)
def test_engines_agree_on_a_whole_image(
    network: str, arch: str, arrays: dict[str, tuple[np.ndarray, ...]], shared_data: Path
) -> None:
    model, accelerator = load_onnx(shared_data / "networks" / f"{network}.onnx"), load_arch(arch)
    images = arrays[network][0][:1]
    formats = calibrate(model, accelerator, images)
    folds, registers = (
        list(GraphRun(model, accelerator, formats, engine).run(images)) for engine in ("fold", "register")
    )
    for fold, register in zip(folds, registers, strict=True):
        assert fold.node == register.node and fold.saturated == register.saturated
        np.testing.assert_array_equal(fold.codes, register.codes)
        if fold.array is None:
            assert register.array is None
            continue
        assert register.array is not None
        assert fold.array.clipped == register.array.clipped
        assert fold.array.array_cycles == register.array.array_cycles
        assert fold.array.live_products == register.array.live_products
    total = sum(done.array.array_cycles for done in registers if done.array is not None)
    closed_form = sum(planned.folds.compute_cycles for planned in GraphRun(model, accelerator, formats).plan().layers)
    assert total == closed_form
