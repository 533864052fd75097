"""Simulators for the Verilog tests: skipped, with a clear reason, where there is none.

LOGACCEL_REQUIRE_RTL, set in .ci/run, makes a missing tool a failure instead.
"""

import os
from importlib import import_module

import pytest

from logaccel.errors import ConfigError
from logaccel.rtl.bench import find_simulator

REQUIRED = bool(os.environ.get("LOGACCEL_REQUIRE_RTL"))
if REQUIRED:
    import_module("pyosys.libyosys")


def _needed(simulator: str) -> None:
    try:
        find_simulator(simulator)
    except ConfigError as error:
        if REQUIRED:
            raise
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def icarus() -> None:
    """Skip without Icarus Verilog 11."""
    _needed("icarus")


@pytest.fixture(scope="session")
def verilator() -> None:
    """Skip without Verilator 5.006."""
    _needed("verilator")
