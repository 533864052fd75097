"""The four trained networks end to end: accuracy on the machine against what docs/results.md measures.

A floor lies four standard errors, at the number of images here, below the measured difference to the float network.
"""

from importlib.util import module_from_spec, spec_from_file_location
from math import sqrt
from pathlib import Path

import network_tables
import numpy as np
import pytest

from logaccel.cli.inputs import load_architectures
from logaccel.evaluation import GraphRun, calibrate, evaluate
from logaccel.model.onnx_import import load_onnx

pytest.importorskip("onnx")
pytestmark = pytest.mark.slow

Arrays = dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]
FLOAT = {"lenet": 0.9905, "cifar10_quick": 0.7491, "resnet20": 0.9173}  # top-1 on all test images, by their authors
IMAGES = {"lenet": 500, "cifar10_quick": 300, "resnet20": 200, "squeezenet11": 100}

# network, setting: measured difference to float and its standard error on the images of network_tables.IMAGES
MEASURED = {
    ("lenet", "a_log4"): (-0.0008, 0.0006),
    ("lenet", "a_linear8"): (0.0001, 0.0001),
    ("cifar10_quick", "a_log4"): (-0.0293, 0.0032),
    ("cifar10_quick", "a_root4"): (-0.0064, 0.0024),
    ("resnet20", "a_log4"): (-0.1405, 0.0040),
    ("resnet20", "a_root4"): (-0.0248, 0.0024),
    ("resnet20", "a_linear8"): (0.0004, 0.0008),
    ("squeezenet11", "a_log4"): (-0.4014, 0.0303),
    ("squeezenet11", "a_root4"): (-0.0317, 0.0144),
}


@pytest.fixture(scope="module")
def arrays(shared_data: Path) -> Arrays:
    spec = spec_from_file_location("load", shared_data / "load.py")
    assert spec is not None and spec.loader is not None
    load = module_from_spec(spec)
    spec.loader.exec_module(load)
    return network_tables.arrays(load, shared_data)


@pytest.mark.parametrize(("network", "key"), MEASURED)
def test_accuracy_stays_above_its_floor(network: str, key: str, arrays: Arrays, shared_data: Path) -> None:
    setting = next(own for own in network_tables.settings() if own.key == key)
    options = setting.options(network)
    arch = load_architectures([options[1]], [part for part in options[2:] if part != "--set"])[0]
    model = load_onnx(shared_data / "networks" / f"{network}.onnx")
    images, labels, calibration = arrays[network]
    count = IMAGES[network]
    run = GraphRun(model, arch, calibrate(model, arch, calibration))
    tree = evaluate(run, images[:count], labels[:count]).to_dict()
    share = network_tables.KEY.get(network, "top1")
    mean, error = MEASURED[network, key]
    slack = 4 * error * sqrt(network_tables.IMAGES[network] / count)
    print(f"\n{network} {key}: {share} {tree[share]:.3f}, difference {tree[f'{share}_difference']:+.3f}, ")
    assert mean - slack <= tree[f"{share}_difference"] <= mean + slack
    if network in FLOAT:
        published = FLOAT[network]
        assert abs(tree["float_top1"] - published) < 4 * sqrt(published * (1 - published) / count)
    else:
        assert tree["float_top5"] > 0.8  # an AlexNet-class network on an easy part of the validation set
