"""What every engine takes and returns: one layer's codes and datapath in, accumulator integers and counts out."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from logaccel.arch import Dataflow, PEArray
from logaccel.formats.encode import Codes
from logaccel.pe import Datapath
from logaccel.schedule.record import Activity
from logaccel.workload import Layer


@dataclass(frozen=True, eq=False)
class LayerJob:
    """One layer, ready to run: ifmap_codes[N, C, H, W] (or [N, C]), filter_codes[M, C/groups, R, S] (or [M, C])."""

    layer: Layer
    datapath: Datapath
    array: PEArray
    dataflow: Dataflow
    ifmap_codes: Codes
    filter_codes: Codes

    @property
    def batch(self) -> int:
        """Images, N."""
        return int(self.ifmap_codes.shape[0])


@dataclass(frozen=True, eq=False)
class LayerRun:
    """What the array did.

    psum[pixel, m]: combined accumulator integers (bins or rails already combined, exact), m over all
    groups' channels, pixel = (n·P + p)·Q + q. `clipped` counts accumulations that saturated or wrapped.
    `array_cycles` ends with the last psum leaving the array. `backend` names what computed the values.
    """

    psum: NDArray[np.int64]
    clipped: int
    array_cycles: int
    activity: Activity
    backend: str
