"""Sessions of a run: when it trained, and on which machine. A run without dates keeps none."""

# no `from __future__ import annotations`: a TypedDict does not recognise NotRequired in a string annotation
import json
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import NotRequired, TypedDict

from snrlab.core.errors import UserError
from snrlab.files.writing import write_atomically


class Session(TypedDict):
    """A session: `start` and `end` in ISO 8601; `device` and `machine` in words, without the machine's name.

    `end` is missing while the session goes on, and where the process was killed.
    """

    start: str
    device: str
    machine: str
    end: NotRequired[str]


def read_sessions(path: Path) -> list[Session]:
    """The sessions of a run, in order; none where the file is missing.

    Raises:
        UserError: the file is damaged.
    """
    if not path.exists():
        return []
    sessions: list[Session] = []
    try:
        for text in path.read_text(encoding="utf-8").split("\n")[:-1]:  # a last line that a kill cut off is skipped
            line = json.loads(text)
            if "start" in line:
                sessions.append(Session(start=line["start"], device=line["device"], machine=line["machine"]))
            elif sessions:
                sessions[-1]["end"] = line["end"]
    except (ValueError, KeyError, TypeError):
        raise UserError(
            f"{path} is damaged. Delete it: only the report reads it, for dates and machine.", code="damaged-file"
        ) from None
    return sessions


def note_start(path: Path, start: datetime, device: str, machine: str) -> None:
    """Append the start of a session."""
    session = Session(start=start.astimezone().isoformat(timespec="seconds"), device=device, machine=machine)
    _append(path, json.dumps(session))


def note_end(path: Path) -> None:
    """Append the end of the session that goes on."""
    _append(path, json.dumps({"end": datetime.now().astimezone().isoformat(timespec="seconds")}))


def seconds_of(sessions: Sequence[Session], until: datetime | None = None) -> float | None:
    """Seconds of all sessions together; None if there is none, or one was killed, so that its end is not known.

    Args:
        sessions: of one run, in order.
        until: the present, for a session that goes on.

    >>> one = Session(start="2030-01-01T10:00:00+00:00", end="2030-01-01T10:02:30+00:00", device="", machine="")
    >>> seconds_of([one, one])
    300.0
    """
    total = 0.0
    for number, session in enumerate(sessions, 1):
        goes_on = number == len(sessions) and until is not None
        end = datetime.fromisoformat(session["end"]) if "end" in session else until if goes_on else None
        if end is None:
            return None
        total += (end - datetime.fromisoformat(session["start"])).total_seconds()
    return total if sessions else None


def _append(path: Path, line: str) -> None:
    """Append a line; after one that a kill cut off, on a line of its own."""
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    whole = text[: text.rfind("\n") + 1]
    write_atomically(path, f"{whole}{line}\n".encode())
