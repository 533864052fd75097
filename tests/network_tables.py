"""The paper's tables on networks that can be had: every setting as a command, its results, the tables in Markdown.

python tests/network_tables.py prepare SHARED_DATA FOLDER     images, labels and calibration images as .npy
python tests/network_tables.py run FOLDER [NETWORK …]         every command that has no result in FOLDER yet
python tests/network_tables.py print FOLDER                   the tables of docs/results.md
python tests/network_tables.py commands NETWORK               the commands themselves

FOLDER holds NETWORK.onnx, NETWORK_images.npy, NETWORK_labels.npy, NETWORK_calibration.npy; results go to
NETWORK.SETTING.json, as `logaccel evaluate --json` writes them.
"""

import json
import os
import shlex
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import module_from_spec, spec_from_file_location
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

NETWORKS = {"lenet": ("ip1", "ip2"), "cifar10_quick": ("ip1", "ip2"), "resnet20": ("linear",), "squeezenet11": ()}
IMAGES = {"lenet": 9936, "cifar10_quick": 10000, "resnet20": 10000, "squeezenet11": 284}  # all that do not calibrate
CALIBRATION = {"lenet": 64, "cifar10_quick": 64, "resnet20": 64, "squeezenet11": 16}
KEY = {"squeezenet11": "top5"}  # what the tables show; top-1 for networks of ten classes

FIRST_LINEAR = "shift_4b_first_linear_16x16"


@dataclass(frozen=True)
class Setting:
    """One row of a table: the options of `logaccel evaluate` for a network."""

    table: str
    row: str
    key: str
    options: Callable[[str], list[str]]


def sets(**changes: str) -> list[str]:
    return [part for key, value in changes.items() for part in ("--set", f"{key.replace('__', '.')}={value}")]


def log_activations(bits: int, steps: int) -> list[str]:
    """Log activations shift 16 b linear weights; accumulators that cannot overflow."""
    width = {3: 40, 4: 48, 5: 62}[bits] if steps == 1 else 48
    chosen = {"activation__bits": str(bits), "weight__bits": "16", "pe__acc_bits": str(width)}
    root = {} if steps == 1 else {"activation__steps_per_octave": str(steps), "pe__root": "bins"}
    return ["--arch", FIRST_LINEAR, *sets(**chosen, **root, layers__first__pe__acc_bits="48")]


def linear_activations(bits: int) -> list[str]:
    first = "{activation: {kind: linear, bits: 8}}"
    return ["--arch", "multiply_16b_16x16", *sets(activation__bits=str(bits), layers__first=first)]


def connected_weights(network: str, word: str) -> list[str]:
    """4 b base-2 log activations; weights of fully connected layers in a word, of convolutions 16 b linear."""
    pe = "pe: {kind: decode, acc_bits: 48, root: bins}, " if "log" in word else ""
    layers = {f"layers__{name}": f"{{{pe}weight: {{{word}}}}}" for name in NETWORKS[network]}
    return [*log_activations(4, 1), *sets(**layers)]


def convolution_weights(network: str, word: str, steps: int) -> list[str]:
    """4 b log activations; weights of convolutions in a word, of fully connected layers 16 b linear."""
    options = log_activations(4, steps)
    root = ", root: bins" if steps > 1 else ""
    connected = f"{{pe: {{kind: shift, acc_bits: 48{root}}}, weight: {{kind: linear, bits: 16}}}}"
    layers = {f"layers__{name}": connected for name in NETWORKS[network]}
    if "log" not in word:
        return [*options, *sets(weight=f"{{{word}}}", **layers)]
    first = "{pe: {kind: shift, acc_bits: 48, root: bins}, activation: {kind: linear, bits: 8}}"
    pe = "{kind: decode, acc_bits: 48, root: bins}"
    kept = options[: options.index("--set")]
    activation = f"{{kind: log, bits: 4, steps_per_octave: {steps}}}"
    return [*kept, *sets(pe=pe, activation=activation, weight=f"{{{word}}}", layers__first=first, **layers)]


ROWS = {"linear": "kind: linear, bits: {}", "base 2": "kind: log, bits: {}", "base √2": "kind: log, bits: {}, "
        "steps_per_octave: 2"}  # fmt: skip
SHORT = {"linear": "linear", "base 2": "log", "base √2": "root"}


def _weights(row: str, bits: int) -> str:
    return f"linear {bits} b" if row == "linear" else f"log {bits} b, {row}"


def settings() -> Iterator[Setting]:
    """Yield every row of every table."""
    yield Setting("activations", "linear 16 b", "a_linear16", lambda _: linear_activations(16))
    yield Setting("activations", "linear 8 b", "a_linear8", lambda _: linear_activations(8))
    for bits in (3, 4, 5):
        yield Setting("activations", f"log {bits} b, base 2", f"a_log{bits}", lambda _, b=bits: log_activations(b, 1))
        yield Setting("activations", f"log {bits} b, base √2", f"a_root{bits}", lambda _, b=bits: log_activations(b, 2))
        yield Setting("activations", f"linear {bits} b", f"a_linear{bits}", lambda _, b=bits: linear_activations(b))
    for row, word in ROWS.items():
        given = word.format(4)
        yield Setting("connected", _weights(row, 4), f"f_{SHORT[row]}4", lambda n, w=given: connected_weights(n, w))
    for steps, base in ((1, "base 2"), (2, "base √2")):
        for row, word in ROWS.items():
            given = word.format(5)
            yield Setting(
                f"convolutions, activations {base}", _weights(row, 5), f"c{steps}_{SHORT[row]}5",
                lambda n, w=given, s=steps: convolution_weights(n, w, s),
            )  # fmt: skip


def applies(setting: Setting, network: str) -> bool:
    return setting.table != "connected" or bool(NETWORKS[network])


def command(network: str, setting: Setting, folder: str = ".") -> list[str]:
    """Return the command line of one row."""
    files = [f"{folder}/{network}.onnx", f"{folder}/{network}_images.npy", f"{folder}/{network}_labels.npy"]
    return [
        "logaccel", "evaluate", *files, "--calibration", f"{folder}/{network}_calibration.npy",
        *setting.options(network), "--json", "--output", f"{folder}/{network}.{setting.key}.json",
    ]  # fmt: skip


def run(folder: Path, networks: list[str]) -> None:
    """Run every command that has no result yet, in this process: kernels compile once."""
    from logaccel.cli import main

    for setting, network in product(settings(), networks):
        target = folder / f"{network}.{setting.key}.json"
        if not applies(setting, network) or target.exists():
            continue
        line = command(network, setting, str(folder))
        print(shlex.join(line), flush=True)
        sys.argv = line
        try:
            main()
        except SystemExit as left:
            if left.code:
                raise


TITLES = {
    "activations": "Activations (weights 16 b linear)",
    "connected": "Weights of fully connected layers (activations 4 b log base 2)",
    "convolutions, activations base 2": "Weights of convolutions (activations 4 b log base 2)",
    "convolutions, activations base √2": "Weights of convolutions (activations 4 b log base √2)",
}


def tables(folder: Path) -> str:
    """Return the tables of the results that are there."""
    lines = []
    found = [_first(folder, network) for network in NETWORKS]
    heads = [f"{n}, {'top-5' if _key(n) == 'top5' else 'top-1'}" for n in NETWORKS]
    floats = [f"{100 * tree[f'float_{_key(n)}']:.1f}" if tree else "–" for n, tree in found]
    for table, title in TITLES.items():
        rows = [setting for setting in settings() if setting.table == table]
        lines += [f"### {title}", "", "| % | " + " | ".join(heads) + " |", "|---" * (len(NETWORKS) + 1) + "|"]
        lines.append("| float | " + " | ".join(floats) + " |")
        for row in rows:
            cells = [_cell(folder, network, row) for network in NETWORKS]
            lines.append(f"| {row.row} (`{row.key}`) | " + " | ".join(cells) + " |")
        lines.append("")
    return "\n".join(lines)


def _key(network: str) -> str:
    return KEY.get(network, "top1")


def _first(folder: Path, network: str) -> tuple[str, dict[str, Any] | None]:
    for path in sorted(folder.glob(f"{network}.*.json")):
        return network, json.loads(path.read_text())
    return network, None


def _cell(folder: Path, network: str, setting: Setting) -> str:
    path = folder / f"{network}.{setting.key}.json"
    if not applies(setting, network) or not path.exists():
        return "–"
    tree, key = json.loads(path.read_text()), _key(network)
    share, mean, error = tree[key], tree[f"{key}_difference"], tree[f"{key}_difference_error"]
    return f"{100 * share:.1f} ({100 * mean:+.1f} ± {100 * error:.1f})".replace("-", "−")


def prepare(shared: Path, folder: Path) -> None:
    """Write images, labels and calibration images; no image is in both."""
    spec = spec_from_file_location("load", shared / "load.py")
    assert spec is not None and spec.loader is not None
    load = module_from_spec(spec)
    spec.loader.exec_module(load)
    for network, (images, labels, calibration) in arrays(load, shared).items():
        for what, values in (("images", images), ("labels", labels), ("calibration", calibration)):
            np.save(folder / f"{network}_{what}.npy", values)
        shutil.copyfile(shared / "networks" / f"{network}.onnx", folder / f"{network}.onnx")


def arrays(load: Any, shared: Path) -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Return images, labels and calibration images of every network, normalised as each expects."""
    test, classes = load.cifar10("test")
    train, _ = load.cifar10("train_a")
    mean = np.load(shared / "images" / "cifar10_train_mean_image_rgb_32x32x3.npy")
    digits, digit_classes = load.mnist_test()
    photos, photo_classes = load.imagenet()
    cifar = {"resnet20": standard, "cifar10_quick": lambda x: channels(x.astype(np.float32) - mean)}
    made = {
        name: (turn(test[: IMAGES[name]]), classes[: IMAGES[name]], turn(train[: CALIBRATION[name]]))
        for name, turn in cifar.items()
    }
    for name, all_images, all_classes in (
        ("lenet", digits[:, None].astype(np.float32) / 256, digit_classes),
        ("squeezenet11", standard(photos), photo_classes),
    ):
        made[name] = (all_images[: IMAGES[name]], all_classes[: IMAGES[name]], all_images[-CALIBRATION[name] :])
        assert IMAGES[name] + CALIBRATION[name] <= len(all_images)
    return {name: (x, y.astype(np.int64), c) for name, (x, y, c) in made.items()}


def standard(images: np.ndarray) -> np.ndarray:
    """Return RGB images 0…255 with the mean and deviation of ImageNet taken out."""
    mean, deviation = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])
    return channels((images.astype(np.float32) / 255 - mean) / deviation)


def channels(images: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2), np.float32)


def main() -> None:
    match sys.argv[1:]:
        case ["prepare", shared, folder]:
            os.makedirs(folder, exist_ok=True)
            prepare(Path(shared), Path(folder))
        case ["run", folder, *networks]:
            run(Path(folder), networks or list(NETWORKS))
        case ["print", folder]:
            print(tables(Path(folder)))
        case ["commands", network]:
            print("\n".join(shlex.join(command(network, each)) for each in settings() if applies(each, network)))
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
