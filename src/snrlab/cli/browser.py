"""Opening a file of a run in the web browser, at once or as soon as a run has written it."""

from __future__ import annotations

import os
import sys
import threading
import time
import webbrowser
from pathlib import Path

_LOOK = 0.5  # seconds between two looks for a file


def open_in_browser(file: Path) -> bool:
    """Open a file in the web browser; False where there is none, as on a machine without a screen."""
    if not _has_screen():
        return False
    try:
        return webbrowser.open(file.absolute().as_uri())
    except webbrowser.Error:
        return False


def open_once_written(file: Path) -> None:
    """Open a file in the web browser as soon as this run has written it, while the run goes on."""
    since = time.time()

    def wait() -> None:
        while not (file.is_file() and file.stat().st_mtime >= since):
            time.sleep(_LOOK)
        open_in_browser(file)

    threading.Thread(target=wait, name="open-report", daemon=True).start()


def _has_screen() -> bool:
    """Whether a browser would have a window; those that draw into the terminal are not wanted."""
    if sys.platform in ("win32", "darwin") or os.environ.get("BROWSER"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
