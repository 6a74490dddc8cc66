"""What a user's own mistake looks like: one clear message, never a traceback."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """A mistake in what the user gave us, worded for the user.

    The message names the field, the value, what is allowed and, where there is one, the nearest
    right spelling. The command line prints it and exits with code 2.
    """


class UnknownNameError(UserError):
    """A name that is not one of those allowed; `guess` is the allowed one that it is most like, or None."""

    guess: str | None = None


DEBUG = "SNRLAB_DEBUG"  # environment variable: show the traceback of a bug


class BugError(RuntimeError):
    """A mistake of ours; the message says where what is known about it lies, and the cause is the exception itself."""


def nearest(word: str, allowed: Iterable[str]) -> str | None:
    """The allowed word most like `word`, or None where nothing comes close.

    >>> nearest("min_snr_gama", ["min_snr_gamma", "max_weight"])
    'min_snr_gamma'
    """
    names = list(allowed)
    begins = (name for name in names if len(word) > 2 and name.lower().startswith(word.lower()))
    return alike(word, names) or next(begins, None)


def alike(word: str, allowed: Iterable[str], share: float = 0.6) -> str | None:
    """The allowed word that has most letters in common with `word`, at least a `share` of them.

    >>> alike("noise_ofset", ["noise_offset"], 0.75), alike("use_shell", ["use_scalar"], 0.75)
    ('noise_offset', None)
    """
    candidates = {name.lower(): name for name in allowed}
    found = difflib.get_close_matches(word.lower(), candidates, n=1, cutoff=share)
    return candidates[found[0]] if found else None


def unknown(field: str, value: object, allowed: Iterable[str]) -> UnknownNameError:
    """The error for a name that is not one of `allowed`.

    >>> print(unknown("weighting", "min_snrr", ["min_snr", "p2"]))
    weighting: 'min_snrr' is not known. Did you mean 'min_snr'? Allowed: min_snr, p2.
    """
    names = list(allowed)
    guess = nearest(str(value), names)
    hint = f" Did you mean '{guess}'?" if guess else ""
    error = UnknownNameError(f"{field}: '{value}' is not known.{hint} Allowed: {', '.join(names)}.")
    error.guess = guess
    return error
