"""How long something takes, in the log at the level debug."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def timed(logger: logging.Logger, what: str) -> Iterator[None]:
    """Log `what` and its seconds when it is done; where it fails, nothing."""
    began = time.monotonic()
    yield
    logger.debug(f"{what}: {time.monotonic() - began:.2f} s")
