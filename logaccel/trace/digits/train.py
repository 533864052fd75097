"""Train the bundled digits network and write its trace: `python -m logaccel.trace.digits.train -o digits.npz`.

Needs the extra `train` (scikit-learn, jax, optax) and half a minute on two cores. Every fifth of scikit-learn's
1797 digit images (the first, the sixth, …: 360) is a test image and is never trained on; every setting below was
chosen on a fifth of the other images (`--validate`), none on the test images. Seeds are fixed, so a machine
repeats its own result; another machine rounds differently and gets another, equally good network.
"""

import argparse
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.scipy.ndimage import map_coordinates
from sklearn.datasets import load_digits

from logaccel.trace import Trace, chain_trace, save_trace
from logaccel.workload import Layer

LAYERS = (
    Layer(name="conv1", in_channels=1, out_channels=24, in_size=(8, 8), kernel=(3, 3), padding=(1, 1, 1, 1)),
    Layer(
        name="conv2",
        in_channels=24,
        out_channels=40,
        in_size=(8, 8),
        kernel=(3, 3),
        padding=(1, 1, 1, 1),
        stride=(2, 2),
    ),
    Layer(
        name="conv3",
        in_channels=40,
        out_channels=48,
        in_size=(4, 4),
        kernel=(3, 3),
        padding=(1, 1, 1, 1),
        stride=(2, 2),
    ),
    Layer(name="fc4", kind="fc", in_channels=192, out_channels=72),
    Layer(name="fc5", kind="fc", in_channels=72, out_channels=10, relu=False),
)
EPOCHS, BATCH, SEED = 150, 64, 0
PEAK_RATE, WEIGHT_DECAY, LABEL_SMOOTHING, DROPOUT = 3e-3, 0.05, 0.05, 0.3
ROTATION, SHIFT, SCALE = 0.18, 0.6, 0.08  # radians, pixels, share: uniform in ± these
SOURCE = (
    "CNN of logaccel/trace/digits/train.py on every fifth image of scikit-learn's load_digits (pixels / 16), which is "
    "the test set of E. Alpaydin and C. Kaynak (1998), Optical Recognition of Handwritten Digits, UCI Machine "
    "Learning Repository, https://doi.org/10.24432/C50P49"
)
LICENCE = (
    "images and labels: CC BY 4.0 (https://creativecommons.org/licenses/by/4.0/), E. Alpaydin and C. Kaynak, as "
    "distributed with scikit-learn (BSD-3-Clause), changed by selection and by scaling to 0…1; weights: Apache-2.0"
)

Parameters = list[tuple[jax.Array, jax.Array]]


def split_digits(part: str) -> tuple[np.ndarray, np.ndarray]:
    """Return images[N, 1, 8, 8] in 0…1 and labels[N] of the part 'train' or 'test'."""
    digits = load_digits()
    chosen = (np.arange(len(digits.target)) % 5 == 0) == (part == "test")
    return (digits.images[chosen][:, None] / 16).astype(np.float32), digits.target[chosen].astype(np.int64)


def initial_parameters(key: jax.Array) -> Parameters:
    """Draw He-normal filters and zero biases."""
    keys = jax.random.split(key, len(LAYERS))
    draw = jax.nn.initializers.he_normal(in_axis=1, out_axis=0)
    return [(draw(k, layer.filter_shape), jnp.zeros(layer.out_channels)) for k, layer in zip(keys, LAYERS, strict=True)]


def logits_of(parameters: Parameters, images: jax.Array, key: jax.Array | None = None) -> jax.Array:
    """Run the network; with a key, drop inputs of the fully connected layers as in training."""
    values = images
    for layer, (filters, bias) in zip(LAYERS, parameters, strict=True):
        if layer.kind == "conv":
            top, left, bottom, right = layer.padding
            values = jax.lax.conv_general_dilated(values, filters, layer.stride, ((top, bottom), (left, right)))
            values += bias[:, None, None]
        else:
            values = values.reshape(len(values), -1)
            if key is not None:
                key, use = jax.random.split(key)
                values *= jax.random.bernoulli(use, 1 - DROPOUT, values.shape) / (1 - DROPOUT)
            values = values @ filters.T + bias
        values = jax.nn.relu(values) if layer.relu else values
    return values


def distorted(images: jax.Array, key: jax.Array) -> jax.Array:
    """Rotate, scale and shift each image a little."""
    angle, scale, down, right = (
        reach * jax.random.uniform(k, (len(images), 1, 1), minval=-1)
        for reach, k in zip((ROTATION, SCALE, SHIFT, SHIFT), jax.random.split(key, 4), strict=True)
    )
    rows, cols = jnp.meshgrid(jnp.arange(8.0) - 3.5, jnp.arange(8.0) - 3.5, indexing="ij")
    cosine, sine = (1 + scale) * jnp.cos(angle), (1 + scale) * jnp.sin(angle)
    where = (cosine * rows - sine * cols + 3.5 + down, sine * rows + cosine * cols + 3.5 + right)
    return jax.vmap(lambda image, at: map_coordinates(image, at, order=1))(images[:, 0], where)[:, None]


def train(images: np.ndarray, labels: np.ndarray, epochs: int) -> Parameters:
    """Return the running average of the weights after so many epochs of AdamW on a cosine schedule."""
    steps = epochs * (len(images) // BATCH)
    schedule = optax.warmup_cosine_decay_schedule(0, PEAK_RATE, max(1, steps // 20), max(2, steps))
    optimizer = optax.adamw(schedule, weight_decay=WEIGHT_DECAY)

    def loss(parameters: Parameters, batch: jax.Array, target: jax.Array, key: jax.Array) -> jax.Array:
        return optax.softmax_cross_entropy(logits_of(parameters, batch, key), target).mean()

    @jax.jit
    def step(state, batch, target, key):  # type: ignore[no-untyped-def]
        parameters, average, moments = state
        first, second = jax.random.split(key)
        gradient = jax.grad(loss)(parameters, distorted(batch, first), target, second)
        updates, moments = optimizer.update(gradient, moments, parameters)
        parameters = optax.apply_updates(parameters, updates)
        return parameters, optax.incremental_update(parameters, average, 0.01), moments

    key, first = jax.random.split(jax.random.key(SEED))
    parameters = initial_parameters(first)
    state = (parameters, parameters, optimizer.init(parameters))
    targets = optax.smooth_labels(jax.nn.one_hot(labels, 10), LABEL_SMOOTHING)
    shuffle = np.random.default_rng(SEED)
    for _ in range(epochs):
        order = shuffle.permutation(len(images))[: len(images) // BATCH * BATCH]
        for chosen in order.reshape(-1, BATCH):
            key, use = jax.random.split(key)
            state = step(state, images[chosen], targets[chosen], use)
    return state[1]


def trace_of(parameters: Parameters, images: np.ndarray, labels: np.ndarray) -> Trace:
    """Return the trace of the trained network on these images."""
    tensors = [(layer, np.asarray(w), np.asarray(b)) for layer, (w, b) in zip(LAYERS, parameters, strict=True)]
    return chain_trace("digits", images, tensors, labels=labels, source=SOURCE, licence=LICENCE)


def main() -> None:
    """Train, report the float accuracy, write the trace."""
    parser = argparse.ArgumentParser(description="Train the bundled digits network and write its trace.")
    parser.add_argument("-o", "--output", type=Path, help="the trace to write (.npz)")
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--validate", action="store_true", help="hold a fifth of the training images out as the test")
    options = parser.parse_args()
    images, labels = split_digits("train")
    tests = split_digits("test")
    if options.validate:
        held = np.arange(len(labels)) % 5 == 0
        tests = images[held], labels[held]
        images, labels = images[~held], labels[~held]
    trace = trace_of(train(images, labels, options.epochs), *tests)
    right = int((trace.layers[-1].ofmap.argmax(axis=1) == tests[1]).sum())
    print(f"{right} of {len(tests[1])} images right ({right / len(tests[1]):.2%})")
    if options.output:
        save_trace(trace, options.output, compact=True)


if __name__ == "__main__":
    main()
