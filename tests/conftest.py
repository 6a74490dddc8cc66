import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # two workers on two cores; threads would only wait for each other
os.environ["HF_HUB_OFFLINE"] = "1"

import gc
import signal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from snrlab.core.registries.registry import load_plugins

TRAINING = ("contract", "models", "options", "train")  # folders of tests that train or load models
load_plugins()
for name in ("SIGINT", "SIGTERM", "SIGHUP"):  # a job of a script or of nohup ignores some, and so would what it starts
    if hasattr(signal, name) and signal.getsignal(getattr(signal, name)) is signal.SIG_IGN:
        usual = signal.default_int_handler if name == "SIGINT" else signal.SIG_DFL
        signal.signal(getattr(signal, name), usual)
settings.register_profile(
    "snrlab", deadline=None, derandomize=True, max_examples=30, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("snrlab")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that take longest first, so that workers end together (`--dist loadfile --no-loadscope-reorder`)."""
    slow = {item.path for item in items if item.get_closest_marker("slow") or item.get_closest_marker("long")}
    items.sort(key=lambda item: (item.path not in slow, item.path.parent.name not in TRAINING))


def pytest_collection_finish() -> None:
    """Leave what the libraries have made, half a million objects, out of each search for garbage: a tenth of all."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(5_000, 10, 10)  # the youngest are looked through once where it was seven times


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory) -> Path:
    import tiny

    return tiny.save_model(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(scope="session")
def pictures(tmp_path_factory) -> Path:
    import tiny

    return tiny.save_pictures(tmp_path_factory.mktemp("data") / "pictures")
