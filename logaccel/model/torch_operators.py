"""ATen operators, as torch.export names them, in the terms of the importer. Nothing here imports torch."""

from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import Any

import numpy as np
from numpy.typing import NDArray

from logaccel.model.operators import Operator

GETITEM = "getitem"  # takes one of several results
PARTS = frozenset({"split", "split_with_sizes", "chunk", "tensor_split"})  # they are nothing but their parts


@dataclass(frozen=True, eq=False)
class TorchTensor:
    """A tensor of the exported graph: its name and its shape, batch first; whether it is made of parameters alone."""

    name: str
    shape: tuple[int, ...]
    constant: bool = False


@dataclass(frozen=True, eq=False)
class Call:
    """One call of an ATen operator: arguments by the names of its schema, defaults filled in.

    `results` holds the one tensor it makes, or several of which `getitem` takes one. `constants` is where an
    operator puts numbers that the importer reads as constant tensors.
    """

    kind: str
    shown: str
    name: str
    arguments: dict[str, Any]
    results: tuple[TorchTensor, ...]
    constants: dict[str, NDArray[Any]]

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the (first) result."""
        return self.results[0].shape

    def get(self, *keys: str) -> Any:
        """Return an argument; overloads and versions call it by one of the names."""
        for key in keys:
            if key in self.arguments:
                return self.arguments[key]
        raise KeyError(f"has no argument {keys[0]}")

    def tensor(self, *keys: str) -> TorchTensor:
        """Return an argument that is a tensor."""
        value = self.get(*keys)
        if not isinstance(value, TorchTensor):
            raise ValueError(f"{keys[0]}: must be a tensor, got {value!r}")
        return value

    def constant(self, key: str, value: Any) -> str:
        """Return the name of a new constant."""
        name = f"{self.results[0].name}.{key}"
        self.constants[name] = np.asarray(value)
        return name

    def put(self, op: str, *inputs: TorchTensor | str | None, **attributes: Any) -> Operator:
        """Return the operator in the terms of the importer."""
        names = tuple(part.name if isinstance(part, TorchTensor) else part or "" for part in inputs)
        return Operator(op, self.name, names, (self.results[0].name,), attributes, self.shown)


def _pair(value: Any) -> list[int]:
    parts = list(value) if isinstance(value, list | tuple) else [value]
    return parts * 2 if len(parts) == 1 else parts


def _convolution(call: Call) -> Operator:
    if call.arguments.get("transposed"):
        raise ValueError("transposed: transposed convolutions are not supported")
    padding = call.get("padding")
    if isinstance(padding, str):
        margins: dict[str, Any] = {"auto_pad": {"same": "SAME_UPPER", "valid": "VALID"}[padding]}
    else:
        margins = {"pads": _pair(padding) * 2}
    return call.put(
        "Conv", call.tensor("input"), call.tensor("weight"), call.get("bias"), group=call.get("groups"),
        strides=_pair(call.get("stride")), dilations=_pair(call.get("dilation")), **margins,
    )  # fmt: skip


def _linear(call: Call) -> Operator:
    return call.put("Gemm", call.tensor("input"), call.tensor("weight"), call.get("bias"), transB=1)


def _addmm(call: Call) -> Operator:
    factors = {"alpha": float(call.get("alpha")), "beta": float(call.get("beta"))}
    return call.put("Gemm", call.tensor("mat1"), call.tensor("mat2"), call.tensor("self"), **factors)


def _matmul(call: Call) -> Operator:
    return call.put("MatMul", call.tensor("self"), call.tensor("mat2", "other"))


def _batch_norm(call: Call) -> Operator:
    if call.arguments.get("training") or call.arguments.get("running_mean") is None:
        raise ValueError("training: must use its running statistics, not those of the batch")
    channels = call.tensor("input").shape[1]
    scale = call.get("weight") or call.constant("scale", np.ones(channels))
    shift = call.get("bias") or call.constant("shift", np.zeros(channels))
    return call.put(
        "BatchNormalization", call.tensor("input"), scale, shift, call.tensor("running_mean"),
        call.tensor("running_var"), epsilon=float(call.get("eps")),
    )  # fmt: skip


def _limited(call: Call) -> Operator:
    low, high = (call.arguments.get(key) for key in _LIMITS[call.kind])
    if isinstance(low, TorchTensor) or isinstance(high, TorchTensor):
        raise ValueError("limits must be numbers, got a tensor")
    limits = {"min": -inf if low is None else float(low), "max": inf if high is None else float(high)}
    return call.put("Clip", call.tensor("self"), **limits)


_LIMITS = {
    "hardtanh": ("min_val", "max_val"),
    "clamp": ("min", "max"),
    "clamp_min": ("min", ""),
    "clip": ("min", "max"),
}


def _relu6(call: Call) -> Operator:
    return call.put("Clip", call.tensor("self"), min=0.0, max=6.0)


def _leaky_relu(call: Call) -> Operator:
    return call.put("LeakyRelu", call.tensor("self"), alpha=float(call.get("negative_slope")))


def _pool(call: Call) -> Operator:
    kernel = _pair(call.get("kernel_size"))
    settings: dict[str, Any] = {
        "kernel_shape": kernel, "strides": _pair(call.get("stride") or kernel), "pads": _pair(call.get("padding")) * 2,
        "ceil_mode": int(call.get("ceil_mode")),
    }  # fmt: skip
    if call.kind == "avg_pool2d":
        if call.get("divisor_override") is not None:
            raise ValueError(f"divisor_override: must be None, got {call.get('divisor_override')}")
        counts = any(settings["pads"]) and call.get("count_include_pad")
        return call.put("AveragePool", call.tensor("self"), count_include_pad=int(counts), **settings)
    return call.put("MaxPool", call.tensor("self"), dilations=_pair(call.get("dilation")), **settings)


def _adaptive_pool(call: Call) -> Operator:
    size, wanted = call.tensor("self").shape[2:], call.shape[2:]
    kind = "Average" if "avg" in call.kind else "Max"
    if wanted == (1, 1):
        return call.put(f"Global{kind}Pool", call.tensor("self"))
    if any(whole % part for whole, part in zip(size, wanted, strict=True)):
        raise ValueError(f"output_size: must divide the map {list(size)}, got {list(wanted)}")
    kernel = [whole // part for whole, part in zip(size, wanted, strict=True)]
    return call.put(f"{kind}Pool", call.tensor("self"), kernel_shape=kernel, strides=kernel)


def _mean(call: Call) -> Operator:
    axes = list(call.arguments.get("dim") or range(len(call.tensor("self").shape)))
    return call.put("ReduceMean", call.tensor("self"), axes=axes, keepdims=int(call.arguments.get("keepdim", False)))


def _affine(call: Call) -> Operator:
    for key, wanted in (("alpha", 1), ("rounding_mode", None)):
        if call.arguments.get(key, wanted) != wanted:
            raise ValueError(f"{key}: must be {wanted}, got {call.get(key)}")
    own, other = call.tensor("self"), call.get("other")
    if call.kind != "add" and isinstance(other, TorchTensor) and not (own.constant or other.constant):
        raise ValueError("one of the two must be a constant")
    term = other if isinstance(other, TorchTensor) else call.constant("term", float(other))
    return call.put(_AFFINE[call.kind], *((term, own) if call.kind == "rsub" else (own, term)))


_AFFINE = {"add": "Add", "sub": "Sub", "rsub": "Sub", "mul": "Mul", "div": "Div"}


def _concat(call: Call) -> Operator:
    return call.put("Concat", *call.get("tensors"), axis=call.get("dim"))


def _reshape(call: Call) -> Operator:
    """Row-major order and the batch axis stay: then it is a reshape of every image by itself."""
    source = call.tensor("self", "input")
    if len(call.shape) < 2 or call.shape[0] != source.shape[0]:
        raise ValueError(f"must keep the batch axis first, got {list(source.shape)} to {list(call.shape)}")
    return call.put("Reshape", source, call.constant("shape", call.shape))


def _identity(call: Call) -> Operator:
    if call.arguments.get("train") or call.kind == "native_dropout":
        raise ValueError("train: must be False")
    return call.put("Identity", call.tensor("self", "input"))


def _softmax(call: Call) -> Operator:
    return call.put("Softmax", call.tensor("self"), axis=call.get("dim"))


def _pad(call: Call) -> Operator:
    source, margins = call.tensor("self"), list(call.get("pad"))
    if call.arguments.get("mode", "constant") != "constant":
        raise ValueError(f"mode: must be constant, got {call.get('mode')}")
    before, after = [0] * len(source.shape), [0] * len(source.shape)
    for place in range(len(margins) // 2):  # the last axis comes first
        before[-1 - place], after[-1 - place] = margins[2 * place : 2 * place + 2]
    return call.put("Pad", source, pads=before + after, value=float(call.get("value") or 0))


def _cut(call: Call, source: TorchTensor, span: tuple[int, int, int], axis: int) -> Operator:
    names = ("starts", "ends", "axes", "steps")
    parts = [call.constant(key, [part]) for key, part in zip(names, (span[0], span[1], axis, span[2]), strict=True)]
    return call.put("Slice", source, *parts)


def _slice(call: Call) -> Operator:
    source, axis = call.tensor("self"), call.get("dim")
    start, end = call.get("start"), call.get("end")
    span = (0 if start is None else start, source.shape[axis] if end is None else end, call.get("step"))
    return _cut(call, source, span, axis)


def _getitem(call: Call) -> Operator:
    made: Call = call.get("call")
    index = call.get("index")
    if made.kind not in PARTS:
        if index:
            raise ValueError(f"result {index} of {made.shown} is not supported")
        return call.put("Identity", made.results[0])
    axis, source = made.get("dim", "axis"), made.tensor("self")
    if not all(len(part.shape) == len(source.shape) for part in made.results):
        raise ValueError(f"parts of {made.shown} must keep their axes")
    sizes = [part.shape[axis] for part in made.results]
    return _cut(call, source, (sum(sizes[:index]), sum(sizes[: index + 1]), 1), axis)


def _permute(call: Call) -> Operator:
    rank = len(call.tensor("self").shape)
    axes = list(range(rank))
    if call.kind == "permute":
        axes = [axis % rank for axis in call.get("dims")]
    else:
        one, other = (0, 1) if call.kind == "t" else (call.get("dim0"), call.get("dim1"))
        axes[one], axes[other] = axes[other], axes[one]
    return call.put("Transpose", call.tensor("self"), perm=axes)


def _relu(call: Call) -> Operator:
    return call.put("Relu", call.tensor("self"))


TRANSLATIONS: dict[str, Callable[[Call], Operator]] = {
    **dict.fromkeys(("conv2d", "convolution"), _convolution),
    "linear": _linear,
    "addmm": _addmm,
    **dict.fromkeys(("mm", "matmul"), _matmul),
    **dict.fromkeys(("batch_norm", "_native_batch_norm_legit_no_training", "_native_batch_norm_legit"), _batch_norm),
    "relu": _relu,
    "relu6": _relu6,
    **dict.fromkeys(_LIMITS, _limited),
    "leaky_relu": _leaky_relu,
    **dict.fromkeys(("max_pool2d", "max_pool2d_with_indices", "avg_pool2d"), _pool),
    **dict.fromkeys(("adaptive_avg_pool2d", "_adaptive_avg_pool2d", "adaptive_max_pool2d"), _adaptive_pool),
    "mean": _mean,
    **dict.fromkeys(_AFFINE, _affine),
    "cat": _concat,
    **dict.fromkeys(("view", "reshape", "_unsafe_view", "flatten", "unflatten", "squeeze", "unsqueeze"), _reshape),
    **dict.fromkeys(("dropout", "native_dropout", "feature_dropout"), _identity),
    **dict.fromkeys(("clone", "contiguous", "alias", "detach"), _identity),
    **dict.fromkeys(("softmax", "_softmax"), _softmax),
    **dict.fromkeys(("pad", "constant_pad_nd"), _pad),
    "slice": _slice,
    **dict.fromkeys(("permute", "transpose", "t"), _permute),
    GETITEM: _getitem,
}  # fmt: skip
