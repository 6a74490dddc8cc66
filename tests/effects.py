"""Which test shows the effect of which option: `@shows("train.steps")` on it; every option needs one."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

Test = TypeVar("Test", bound=Callable[..., object])


def shows(*options: str) -> Callable[[Test], Test]:
    """Say that a test compares these options (`section.field`) with their defaults and sees a difference."""
    assert options
    return lambda test: test
