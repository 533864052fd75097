"""Simulators for the Verilog tests: skipped, with a clear reason, where there is none."""

import pytest

from logaccel.errors import ConfigError
from logaccel.rtl.bench import find_simulator


def _needed(simulator: str) -> None:
    try:
        find_simulator(simulator)
    except ConfigError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def icarus() -> None:
    """Skip without Icarus Verilog 11."""
    _needed("icarus")


@pytest.fixture(scope="session")
def verilator() -> None:
    """Skip without Verilator 5.006."""
    _needed("verilator")
