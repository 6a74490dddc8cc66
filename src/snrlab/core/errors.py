"""What a user's own mistake looks like: one clear message, never a traceback."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """A mistake in what the user gave us, worded for the user.

    The message names the field, the value, what is allowed and, where there is one, the nearest
    right spelling. The command line prints it and exits with code 2.
    """


DEBUG = "SNRLAB_DEBUG"  # environment variable: show the traceback of a bug


class BugError(RuntimeError):
    """A mistake of ours; the message says where what is known about it lies, and the cause is the exception itself."""


def nearest(word: str, allowed: Iterable[str]) -> str | None:
    """The allowed word most like `word`, or None where nothing comes close.

    >>> nearest("min_snr_gama", ["min_snr_gamma", "max_weight"])
    'min_snr_gamma'
    """
    candidates = {name.lower(): name for name in allowed}
    found = difflib.get_close_matches(word.lower(), candidates, n=1, cutoff=0.6)
    if found:
        return candidates[found[0]]
    return next((name for low, name in candidates.items() if len(word) > 2 and low.startswith(word.lower())), None)


def unknown(field: str, value: object, allowed: Iterable[str]) -> UserError:
    """The error for a name that is not one of `allowed`.

    >>> print(unknown("weighting", "min_snrr", ["min_snr", "p2"]))
    weighting: 'min_snrr' is not known. Did you mean 'min_snr'? Allowed: min_snr, p2.
    """
    names = list(allowed)
    guess = nearest(str(value), names)
    hint = f" Did you mean '{guess}'?" if guess else ""
    return UserError(f"{field}: '{value}' is not known.{hint} Allowed: {', '.join(names)}.")
