"""One layer of a network, and the matrix product that it is for the array."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from logaccel.section import Section

Size = Annotated[int, Field(ge=1, le=2**24)]
Pair = tuple[Annotated[int, Field(ge=1, le=2**16)], Annotated[int, Field(ge=1, le=2**16)]]
Margins = tuple[
    Annotated[int, Field(ge=0, le=2**16)],
    Annotated[int, Field(ge=0, le=2**16)],
    Annotated[int, Field(ge=0, le=2**16)],
    Annotated[int, Field(ge=0, le=2**16)],
]


def _numbers(value: Any, lengths: tuple[int, ...], least: int, rule: str) -> tuple[int, ...]:
    """Return whole numbers in a range, as many as the user gave or, for a single one, the fewest allowed."""
    parts = tuple(value) if isinstance(value, list | tuple) else (value,) * lengths[0]
    if len(parts) not in lengths or any(type(part) is not int for part in parts):
        raise ValueError(f"{rule}, got {value!r}")
    if min(parts) < least or max(parts) > 2**16:
        raise ValueError(f"must be {least} … {2**16}, got {value!r}")
    return parts


@dataclass(frozen=True)
class MatrixShape:
    """A layer as `groups` products psum[pixel, channel] = Σ_k A[pixel, k] · W[k, channel]."""

    groups: int
    pixels: int  # batch · P · Q
    channels: int  # ofmap channels of one group
    reduction: int  # K = C·R·S of one group

    @property
    def macs(self) -> int:
        """Multiply–accumulates of all groups, padding zeros included."""
        return self.groups * self.pixels * self.channels * self.reduction


class Layer(Section):
    """A convolution or a fully connected layer (a 1×1 convolution on a 1×1 map).

    Axes: ifmap[N, C, H, W], filter[M, C/groups, R, S], ofmap[N, M, P, Q]. Bias and ReLU follow the sum.
    """

    name: Annotated[str, Field(min_length=1, max_length=200)]
    kind: Literal["conv", "fc"] = "conv"
    in_channels: Annotated[Size, Field(description="C")]
    out_channels: Annotated[Size, Field(description="M")]
    in_size: Annotated[Pair, Field(description="H, W")] = (1, 1)
    kernel: Annotated[Pair, Field(description="R, S")] = (1, 1)
    stride: Pair = (1, 1)
    padding: Annotated[Margins, Field(description="zeros added: top, left, bottom, right")] = (0, 0, 0, 0)
    dilation: Pair = (1, 1)
    groups: Size = 1
    relu: Annotated[bool, Field(description="ReLU after the bias")] = True

    @field_validator("in_size", "kernel", "stride", "dilation", mode="before")
    @classmethod
    def _pair(cls, value: Any) -> Any:
        return _numbers(value, (2,), least=1, rule="must be a whole number or a pair of them")

    @field_validator("padding", mode="before")
    @classmethod
    def _margins(cls, value: Any) -> Any:
        margins = _numbers(
            value, (2, 4), least=0, rule="must be a whole number, a pair (rows, columns) or four (all sides)"
        )
        return margins * 2 if len(margins) == 2 else margins

    @model_validator(mode="after")
    def _is_a_layer(self) -> "Layer":
        for what, count in (("in_channels", self.in_channels), ("out_channels", self.out_channels)):
            if count % self.groups:
                raise ValueError(f"{what}: must be a multiple of groups ({self.groups}), got {count}")
        if self.kind == "fc" and (self.in_size, self.kernel, self.padding) != ((1, 1), (1, 1), (0, 0, 0, 0)):
            raise ValueError("a layer of kind fc has no in_size, kernel or padding")
        for axis, size in zip("PQ", self.out_size, strict=True):
            if size < 1:
                raise ValueError(f"the kernel does not fit into the padded ifmap: {axis} would be {size}")
        return self

    @property
    def out_size(self) -> tuple[int, int]:
        """P and Q."""
        top, left, bottom, right = self.padding
        padded = (self.in_size[0] + top + bottom, self.in_size[1] + left + right)
        p, q = (
            (size - dilation * (taps - 1) - 1) // stride + 1
            for size, taps, stride, dilation in zip(padded, self.kernel, self.stride, self.dilation, strict=True)
        )
        return p, q

    def ifmap_shape(self, batch: int) -> tuple[int, ...]:
        """Return [N, C, H, W], or [N, C] for a fully connected layer."""
        return (batch, self.in_channels) if self.kind == "fc" else (batch, self.in_channels, *self.in_size)

    @property
    def filter_shape(self) -> tuple[int, ...]:
        """[M, C/groups, R, S], or [M, C] for a fully connected layer."""
        depth = self.in_channels // self.groups
        return (self.out_channels, depth) if self.kind == "fc" else (self.out_channels, depth, *self.kernel)

    def ofmap_shape(self, batch: int) -> tuple[int, ...]:
        """Return [N, M, P, Q], or [N, M] for a fully connected layer."""
        return (batch, self.out_channels) if self.kind == "fc" else (batch, self.out_channels, *self.out_size)

    def matrix(self, batch: int) -> MatrixShape:
        """Return the layer as matrix products, pixel = (n·P + p)·Q + q, k = (c·R + r)·S + s."""
        p, q = self.out_size
        return MatrixShape(
            groups=self.groups,
            pixels=batch * p * q,
            channels=self.out_channels // self.groups,
            reduction=self.in_channels // self.groups * self.kernel[0] * self.kernel[1],
        )

    def feeds(self, following: "Layer") -> bool:
        """Return whether this layer's ofmap has, element by element, the shape of the following layer's ifmap.

        Shapes alone: a pooling or a residual add between the two can hide behind equal ones (ResNet-18's blocks).
        `Trace.unfed_layers` compares the recorded values; `compare` runs chained only where those agree.
        """
        if following.kind == "fc":
            p, q = self.out_size
            return self.out_channels * p * q == following.in_channels
        return (self.out_channels, self.out_size) == (following.in_channels, following.in_size)
