"""What all tests share: reproducible examples and the folder of test data beside the repository."""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

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
