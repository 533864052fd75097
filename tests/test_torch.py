"""PyTorch modules: the imported graph computes what torch computes, and is that of the same network's ONNX file."""

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import logaccel
from logaccel.arch import load_arch
from logaccel.errors import ConfigError, WorkloadError
from logaccel.evaluation import GraphRun, calibrate, run_graph
from logaccel.model.model import Model
from logaccel.model.reference import run_float
from logaccel.workload.graph import INPUT, Clip, LayerNode, Pool

torch = pytest.importorskip("torch")
nn, F = torch.nn, torch.nn.functional


class Body(nn.Module):
    """A module whose forward is a function of (module, x); parts become submodules and parameters."""

    def __init__(self, forward: Callable[[Any, Any], Any], **parts: Any) -> None:
        super().__init__()
        self._forward = forward
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x: Any) -> Any:
        return self._forward(self, x)


def conv(*sizes: Any, **settings: Any) -> Any:
    return nn.Conv2d(*sizes, **settings)


def norm(channels: int) -> Any:
    """A batch norm with statistics that are none of the neutral ones."""
    made = nn.BatchNorm2d(channels)
    for values in (made.weight.data, made.bias.data, made.running_mean):
        values.normal_()
    made.running_var.uniform_(0.1, 3.0)
    return made


def matrix(*shape: int) -> Any:
    return nn.Parameter(torch.randn(*shape) / shape[0] ** 0.5)


def block() -> Any:
    """A ResNet block whose ReLU works in place: what is added is what it has left behind."""

    def forward(m: Any, x: Any) -> Any:
        kept = m.stem(x)
        y = m.relu(kept)
        y = m.relu(m.b1(m.c1(y)))
        y = m.b2(m.c2(y))
        y += kept
        return m.relu(y)

    return Body(
        forward, stem=conv(4, 6, 3, padding=1), relu=nn.ReLU(inplace=True), b1=norm(6), b2=norm(6),
        c1=conv(6, 6, 3, padding=1, bias=False), c2=conv(6, 6, 3, padding=1, bias=False),
    )  # fmt: skip


def shuffled(m: Any, x: Any) -> Any:
    kept, changed = m.stem(x).chunk(2, dim=1)
    y = torch.cat([kept, m.branch(changed)], 1)
    n, c, h, w = y.shape
    return y.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)


CASES: dict[str, Callable[[], Any]] = {
    "conv": lambda: conv(4, 6, (3, 2), stride=(2, 1), padding=(2, 0), dilation=(1, 3)),
    "grouped same": lambda: conv(4, 8, (4, 3), padding="same", groups=2, dilation=(1, 2), bias=False),
    "valid": lambda: conv(4, 3, 3, padding="valid"),
    "asymmetric pad": lambda: nn.Sequential(nn.ZeroPad2d((0, 2, 1, 3)), conv(4, 3, 3, stride=2)),
    "negative slice and pad": lambda: Body(
        lambda m, x: F.pad(m.c(x)[:, 1:, ::2, -5:-1], (0, 0, 0, 1, 2, 1)), c=conv(4, 6, 3)
    ),
    "block": block,
    "norm first": lambda: nn.Sequential(norm(4), conv(4, 5, 3), norm(5), nn.ReLU6(), norm(5)),
    "norm without factors": lambda: nn.Sequential(conv(4, 5, 3), nn.BatchNorm2d(5, affine=False)),
    "clips": lambda: nn.Sequential(conv(4, 6, 1), nn.Hardtanh(0.0, 0.7), conv(6, 6, 1), nn.LeakyReLU(0.2)),
    "clamps": lambda: Body(lambda m, x: m.b(m.a(x).clamp(max=0.5)).clamp_min(0), a=conv(4, 4, 1), b=conv(4, 4, 1)),
    "max pools": lambda: nn.Sequential(conv(4, 4, 1), nn.MaxPool2d(3, 2, padding=1, ceil_mode=True), nn.MaxPool2d(2)),
    "dilated pool": lambda: nn.Sequential(conv(4, 4, 1), nn.MaxPool2d((2, 3), stride=(1, 2), dilation=2)),
    "average pools": lambda: nn.Sequential(
        conv(4, 4, 1), nn.AvgPool2d(3, 2, padding=1, ceil_mode=True), nn.AvgPool2d(2, count_include_pad=False)
    ),
    "adaptive": lambda: nn.Sequential(
        conv(4, 4, 1), nn.AdaptiveAvgPool2d((3, 2)), nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(4, 3)
    ),
    "mean": lambda: Body(lambda m, x: m.f(m.c(x).mean([2, 3])), c=conv(4, 6, 3), f=nn.Linear(6, 3)),
    "mean kept": lambda: Body(lambda m, x: m.c(x).mean((-1, -2), keepdim=True), c=conv(4, 6, 3)),
    "shuffle": lambda: Body(shuffled, stem=conv(4, 8, 3), branch=conv(4, 4, 3, padding=1, groups=4)),
    "concat": lambda: Body(lambda m, x: torch.cat([m.a(x), x, F.relu(m.b(x))], 1), a=conv(4, 2, 1), b=conv(4, 3, 1)),
    "addmm": lambda: Body(
        lambda m, x: torch.addmm(m.b, x.flatten(1) @ m.w, m.v, beta=0.5, alpha=2.0), b=matrix(5), w=matrix(288, 7),
        v=matrix(7, 5),
    ),
    "matrices": lambda: Body(
        lambda m, x: torch.mm(x.reshape(len(x), -1), m.w.t()).softmax(-1), w=matrix(7, 288)
    ),
    "dropout": lambda: nn.Sequential(conv(4, 4, 1), nn.Dropout2d(), nn.Flatten(), nn.Linear(288, 5), nn.Dropout()),
    "constant term": lambda: Body(lambda m, x: m.c(x) + m.t + 0.25, c=conv(4, 6, 3), t=matrix(6, 1, 1)),
    "preprocessing": lambda: Body(lambda m, x: m.c((x - m.t) / m.t.exp()), c=conv(4, 6, 3), t=matrix(4, 1, 1)),
    "scaled by channel": lambda: Body(
        lambda m, x: 1 - m.f(3 * m.c(x).mean((2, 3)) / 0.7 - m.t) * m.s, c=conv(4, 6, 3), t=matrix(6),
        f=nn.Linear(6, 5), s=matrix(5),
    ),
    "normed weight": lambda: nn.Sequential(nn.utils.parametrizations.weight_norm(conv(4, 6, 3))),
    "half": lambda: Body(lambda m, x: F.conv2d(x, m.w.float()), w=nn.Parameter(torch.randn(6, 4, 3, 3).half())),
}  # fmt: skip


def output(model: Model, images: Any) -> np.ndarray:
    values = {node.name: value for node, value in run_float(model, images.numpy())}
    return values[model.graph.output]


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths:UserWarning")
@pytest.mark.parametrize("case", CASES)
def test_float_path_equals_torch(case: str) -> None:
    torch.manual_seed(sum(map(ord, case)))
    module = CASES[case]().eval()
    images = torch.randn(5, 4, 9, 8)
    model = logaccel.from_torch(module, images[: 1 + len(case) % 3])
    with torch.no_grad():
        # A graph is for images one by one: it takes more of them than the example had.
        wanted = module(images).numpy()
    np.testing.assert_allclose(output(model, images), wanted, rtol=1e-4, atol=1e-4)


def test_random_convolutions_equal_torch() -> None:
    rng = np.random.default_rng(3)
    torch.manual_seed(3)
    for _ in range(6):
        groups = int(rng.integers(1, 4))
        sizes = rng.integers(1, 4, 8).tolist()
        module = nn.Sequential(
            nn.ZeroPad2d(rng.integers(0, 3, 4).tolist()),
            conv(
                groups * sizes[0], groups * sizes[1], (sizes[2], sizes[3]), groups=groups, stride=(sizes[4], sizes[5]),
                dilation=(sizes[6], sizes[7]), padding=tuple(rng.integers(0, 3, 2).tolist()),
            ),
            norm(groups * sizes[1]), nn.ReLU(),
        ).eval()  # fmt: skip
        images = torch.randn(2, groups * sizes[0], 11, 9)
        model = logaccel.from_torch(module, images)
        np.testing.assert_allclose(output(model, images), module(images).detach().numpy(), rtol=1e-4, atol=1e-4)


def test_lane_takes_norm_residual_and_relu_and_names_are_those_of_modules() -> None:
    model = logaccel.from_torch(block().eval(), torch.zeros(1, 4, 9, 8), name="one block")
    assert model.name == "one block"
    assert [(node.name, node.inputs) for node in model.graph.nodes] == [
        ("stem", (INPUT,)), ("c1", ("stem",)), ("c2", ("c1", "stem"))
    ]  # fmt: skip
    assert all(isinstance(node, LayerNode) and node.layer.relu for node in model.graph.nodes)


def structure(model: Model) -> list[Any]:
    """Return the graph with numbers for names: what two tools must agree on."""
    number = {INPUT: 0} | {node.name: index for index, node in enumerate(model.graph.nodes, start=1)}
    plain = []
    for node in model.graph.nodes:
        layer = node.layer.model_copy(update={"name": ""}) if isinstance(node, LayerNode) else None
        parts = vars(replace(node, name="", inputs=())) | {"layer": layer}
        plain.append((type(node), [number[name] for name in node.inputs], parts))
    return plain


def residual_twin(model: Model) -> Any:
    """The network of `graph_cases.residual_net` in torch, with the parameters of its import."""

    def forward(m: Any, x: Any) -> Any:
        y = F.relu(m.stem(x))
        y = F.relu(m.d(y) + y)
        y = torch.cat([F.avg_pool2d(y, 3), F.max_pool2d(y, 3)], 1)
        return m.fc(torch.flatten(y, 1))

    module = Body(forward, stem=conv(4, 6, 3, padding=1), d=conv(6, 6, 3, padding=1), fc=nn.Linear(72, 7))
    for name, own in model.parameters.items():
        getattr(module, name).weight.data = torch.from_numpy(own.filter)
        getattr(module, name).bias.data = torch.from_numpy(own.bias)
    return module.eval()


def test_equals_the_onnx_import_of_the_same_network(tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    from graph_cases import normal, residual_net

    model, images = residual_net(tmp_path), normal(3, 4, 9, 8)
    twin = logaccel.from_torch(residual_twin(model), torch.from_numpy(images[:1]))
    assert structure(twin) == structure(model)
    for one, other in zip(twin.parameters.values(), model.parameters.values(), strict=True):
        assert np.array_equal(one.filter, other.filter) and np.array_equal(one.bias, other.bias)
    arch = load_arch("shift_4b_16x16")
    codes = [run_graph(GraphRun(own, arch, calibrate(own, arch, images)), images) for own in (twin, model)]
    assert np.array_equal(*codes)


class ResNet20(nn.Module):
    """ResNet-20 of CIFAR-10 with shortcuts of option A, which subsample and pad with zeros."""

    def __init__(self) -> None:
        super().__init__()
        widths = [(16, 16, 1)] * 3 + [(16, 32, 2)] + [(32, 32, 1)] * 2 + [(32, 64, 2)] + [(64, 64, 1)] * 2
        self.convs = nn.ModuleList([conv(3, 16, 3, padding=1, bias=False)])
        for before, after, stride in widths:
            self.convs.append(conv(before, after, 3, stride, padding=1, bias=False))
            self.convs.append(conv(after, after, 3, padding=1, bias=False))
        self.norms = nn.ModuleList([nn.BatchNorm2d(own.out_channels) for own in self.convs])
        self.fc = nn.Linear(64, 10)

    def forward(self, x: Any) -> Any:
        x = F.relu(self.norms[0](self.convs[0](x)))
        for index in range(1, 19, 2):
            y = F.relu(self.norms[index](self.convs[index](x)))
            y = self.norms[index + 1](self.convs[index + 1](y))
            missing = y.shape[1] - x.shape[1]
            if missing:
                x = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, missing // 2, missing - missing // 2))
            x = F.relu(y + x)
        return self.fc(torch.flatten(F.adaptive_avg_pool2d(x, 1), 1))


def test_resnet20_equals_its_onnx_file(shared_data: Path) -> None:
    onnx = pytest.importorskip("onnx")
    from logaccel.model.onnx_import import load_onnx

    path = shared_data / "networks" / "resnet20.onnx"
    graph = onnx.load(path).graph
    values = {part.name: torch.from_numpy(onnx.numpy_helper.to_array(part).copy()) for part in graph.initializer}
    module = ResNet20().eval()
    convs, norms = iter(module.convs), iter(module.norms)
    for node in graph.node:
        given = [values.get(name) for name in node.input]
        if node.op_type == "Conv":
            next(convs).weight.data = given[1]
        elif node.op_type == "BatchNormalization":
            own = next(norms)
            own.weight.data, own.bias.data, own.running_mean, own.running_var = given[1:]
            own.eps = next((part.f for part in node.attribute if part.name == "epsilon"), 1e-5)
        elif node.op_type == "Gemm":
            module.fc.weight.data, module.fc.bias.data = given[1:]
    model, images = load_onnx(path), torch.randn(2, 3, 32, 32)
    twin = logaccel.from_torch(module, images)
    # torch slices one axis at a time: there are more nodes, and the layers are the same.
    layers = [[part[2]["layer"] for part in structure(own) if part[2]["layer"]] for own in (twin, model)]
    assert layers[0] == layers[1] and len(layers[0]) == 20
    for one, other in zip(twin.parameters.values(), model.parameters.values(), strict=True):
        assert np.array_equal(one.filter, other.filter) and np.array_equal(one.bias, other.bias)
    np.testing.assert_allclose(output(twin, images), module(images).detach().numpy(), rtol=1e-4, atol=1e-4)


def test_limits_and_pools_are_records() -> None:
    module = nn.Sequential(conv(4, 4, 1), nn.ReLU6(), nn.AdaptiveAvgPool2d((3, 4)))
    nodes = logaccel.from_torch(module.eval(), torch.zeros(1, 4, 9, 8)).graph.nodes
    assert nodes[1:] == (
        Clip("1", ("0",), 0.0, 6.0), Pool("2", ("1",), "average", (3, 2), (3, 2), (0, 0, 0, 0))
    )  # fmt: skip


def refused(module: Any, example: Any) -> str:
    with pytest.raises(WorkloadError) as caught:
        logaccel.from_torch(module, example)
    return str(caught.value)


EXAMPLE = torch.zeros(2, 4, 9, 8)


def test_every_unsupported_operator_is_named() -> None:
    parts = {"a": nn.SiLU(), "t": nn.ConvTranspose2d(6, 4, 3), "s": nn.Sigmoid(), "c": conv(4, 6, 3)}
    module = Body(lambda m, x: m.s(m.t(m.a(m.c(x)))) * x, **parts).eval()
    assert refused(module, EXAMPLE).splitlines() == [
        "Body: node a (aten.silu.default): operator is not supported",
        "Body: node t (aten.conv_transpose2d.input): operator is not supported",
        "Body: node s (aten.sigmoid.default): operator is not supported",
        "Body: node mul (aten.mul.Tensor): one of the two must be a constant",
    ]


@pytest.mark.parametrize(
    ("forward", "message"),
    [
        (lambda m, x: F.avg_pool2d(m.c(x), 2, divisor_override=3), r"\(aten.avg_pool2d.default\): divisor_override:"),
        (lambda m, x: F.adaptive_avg_pool2d(m.c(x), 4), r"output_size: must divide the map \[7, 6\], got \[4, 4\]"),
        (lambda m, x: F.pad(m.c(x), (1, 1, 1, 1), mode="reflect"), r"mode: must be constant, got reflect"),
        (lambda m, x: m.c(x).reshape(-1, 6), r"must keep the batch axis first, got \[2, 6, 7, 6\] to \[84, 6\]"),
        (lambda m, x: torch.add(m.c(x), x.mean(), alpha=2), r"alpha: must be 1, got 2"),
        (lambda m, x: torch.div(m.c(x), 2.0, rounding_mode="floor"), r"rounding_mode: must be None, got floor"),
        (lambda m, x: m.c(x).mean(), r"\(aten.mean.default\): axes: must be both axes of a map, .* got \[0, 1, 2, 3\]"),
        (lambda m, x: m.c(x) - m.c(x), r"\(aten.sub.Tensor\): one of the two must be a constant"),
        (lambda m, x: F.batch_norm(m.c(x), None, None, training=True), r"training: must use its running statistics"),
        (lambda m, x: F.dropout(m.c(x), training=True), r"train: must be False"),
        (lambda m, x: (m.c(x), x), r"Body: must take one tensor and return one, got 1 and 2"),
        (lambda m, x: m.c(x) if x.sum() > 0 else x, r"its forward branches on values of tensors, which no graph holds"),
        (lambda m, x: m.c(x)[:, : int(x.max().item())], r"its forward branches on values of tensors"),
        (lambda m, x: m.c(x).transpose(0, 1), r"perm: must keep the batch axis first"),
        (lambda m, x: F.relu(x), r"Body: holds no convolution or fully connected layer"),
        (lambda m, x: {}["missing"], r"cannot follow it on an example of the shape \[2, 4, 9, 8\]: 'missing'"),
    ],
)  # fmt: skip
def test_what_a_graph_cannot_hold_is_refused(
    forward: Callable[[Any, Any], Any], message: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(WorkloadError, match=message):
        logaccel.from_torch(Body(forward, c=conv(4, 6, 3)).eval(), EXAMPLE)
    assert capfd.readouterr() == ("", "")


def test_wrong_modules_and_examples_are_refused() -> None:
    module = nn.Sequential(conv(4, 6, 3), nn.Dropout()).eval()
    assert "expected input[2, 3, 9, 8] to have 4 channels" in refused(module, torch.zeros(2, 3, 9, 8))
    assert refused(module, EXAMPLE.int()).endswith("must hold floating-point numbers, got torch.int32")
    assert refused(module, EXAMPLE[0]).endswith("must have the axes N, C, H, W or N, C, got the shape [4, 9, 8]")
    assert refused(module, EXAMPLE.numpy()) == "Sequential: example_input must be one tensor, got ndarray"
    assert refused(torch.relu, EXAMPLE).startswith("from_torch: module must be a torch.nn.Module, got ")
    module[1].train()
    assert refused(module, EXAMPLE) == "Sequential: is in training mode: 1; call its eval() first"
    module.eval()
    module[0].weight.data[0, 0, 0, 0] = float("nan")
    assert refused(module, EXAMPLE) == "Sequential: p_0_weight: must be finite real numbers, got nan"
    counting = Body(lambda m, x: (m.n.add_(1), m.c(x))[1], c=conv(4, 6, 3))
    counting.register_buffer("n", torch.zeros(1))
    assert refused(counting.eval(), EXAMPLE) == "Body: its forward changes n, which a graph cannot"


def test_without_the_extra_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ConfigError, match=r"needs the extra: pip install 'logaccel\[torch\]'"):
        logaccel.from_torch(None, None)
