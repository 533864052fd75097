"""What all tests share: reproducible examples and the folder of test data beside the repository."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# Several workers share the cores, so threads that wait must not spin. Read when the first parallel kernel starts.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")

# Derandomized: the examples follow from the test's own text, so a failure here is a failure everywhere.
settings.register_profile(
    "reproducible",
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.load_profile("reproducible")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Return the folder of shared test data, or skip: $LOGACCEL_SHARED/data, else ../shared/data."""
    root = os.environ.get("LOGACCEL_SHARED")
    folder = (Path(root) if root else Path(__file__).parents[2] / "shared") / "data"
    if not folder.is_dir():
        pytest.skip(f"no shared test data at {folder} (set LOGACCEL_SHARED)")
    return folder


def pytest_sessionstart(session: pytest.Session) -> None:
    """Before the workers of a whole run start, compile what they share, on two cores."""
    config = session.config
    whole = config.args_source is pytest.Config.ArgsSource.TESTPATHS and not hasattr(config, "workerinput")
    if whole and config.getoption("numprocesses", None) and not config.getoption("markexpr", "").startswith("notebook"):
        script = Path(__file__).with_name("compile_kernels.py")
        for process in [subprocess.Popen([sys.executable, script, part]) for part in ("networks", "fold", "register")]:
            process.wait()
