import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # two workers on two cores; threads would only wait for each other
os.environ["HF_HUB_OFFLINE"] = "1"

from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from snrlab.core.registry import load_plugins

load_plugins()
settings.register_profile(
    "snrlab", deadline=None, derandomize=True, max_examples=30, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("snrlab")


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory) -> Path:
    import tiny

    return tiny.save_model(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(scope="session")
def pictures(tmp_path_factory) -> Path:
    import tiny

    return tiny.save_pictures(tmp_path_factory.mktemp("data") / "pictures")
