"""Errors that the user can mend: one clear message and a stable code, never a traceback."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

# stable error codes for programs: code -> meaning; docs/error-codes.md lists them
ERROR_CODES: Mapping[str, str] = {
    # what is written in a run file, on the command line or in another trainer's settings
    "unknown-key": "A key or section that does not exist at this place.",
    "unknown-name": "A name that is not one of those allowed, such as a strategy, a flag or a format.",
    "missing-value": "Something that has to be stated is not.",
    "stated-twice": "One name, key or option is given twice.",
    "wrong-type": "A value of another kind than is needed, such as a text where true or false is.",
    "not-a-number": "A value that must be a number and is none.",
    "out-of-range": "A number outside of what is allowed, or of what there is.",
    "wrong-size": "A width, height or resolution that the model, the buckets or the sampler cannot take.",
    "invalid-syntax": "A text that does not have the required form.",
    "conflicting-options": "Options that exclude each other.",
    "unused-option": "An option that would have no effect beside the others.",
    "nothing-to-do": "Nothing to train, draw, compare or measure would be left.",
    "not-supported": "Something that exists elsewhere and not in this program.",
    "foreign-settings": "Settings of another trainer where a run file is needed.",
    "trainer-stops": "The trainer that the settings are for would stop at them.",
    "several-mistakes": "More than one mistake, of different kinds; the message has them all.",
    # files and folders
    "missing-file": "There is no such file or folder.",
    "already-exists": "A file or folder is there already and would be replaced.",
    "not-a-file": "A folder, pipe or device where a file is needed.",
    "not-a-folder": "A file where a folder is needed.",
    "wrong-file": "A file or folder of another kind than is needed here.",
    "file-too-large": "A file that is larger than any file of its kind.",
    "unreadable-file": "A file or folder that the system does not let be read, or that does not load.",
    "unwritable-file": "A file or folder that the system does not let be written.",
    "disk-full": "The disk is full, or would be.",
    "not-utf8": "A text file that is not UTF-8.",
    "invalid-toml": "A file that is not valid TOML.",
    "invalid-json": "A file, or a part of one, that is not valid JSON.",
    "invalid-content": "A file that can be read and does not hold what it must.",
    "damaged-file": "A file that is cut short or contradicts itself.",
    "pickle-refused": "A pickle, which can run any program and is never opened.",
    # images and captions
    "no-images": "A folder or list without images to use.",
    "too-few-images": "Fewer images than are needed.",
    "unreadable-image": "An image that cannot be read.",
    "unusable-images": "Several problems with the images of [data].",
    "image-changed": "An image that is no longer what it was when the run began.",
    "images-overlap": "Images that are trained on, or would be, though they must not be.",
    "missing-caption": "An image without a caption.",
    "ambiguous-caption": "An image with several caption files, and nothing says which of them to read.",
    "ambiguous-folder": "Folders of images that can be understood in more than one way.",
    "invalid-mask": "A mask that cannot be read, or that leaves nothing of its image.",
    # models
    "unknown-prediction-type": "Nothing says what the model predicts, and it is not stated.",
    "contradicts-model": "What is stated is not what the model says or does.",
    "does-not-fit-model": "Weights of another family or architecture.",
    "incomplete-weights": "Weights of which some are missing.",
    # recipes
    "invalid-recipe": "A recipe with findings of the grade error; the message has their codes.",
    "unusable-weights": "Loss weights or densities that are infinite somewhere, or 0 everywhere.",
    # runs
    "not-a-run": "There is no run at this place.",
    "run-exists": "There is a run of this name already.",
    "run-in-use": "Another process trains in this run folder.",
    "run-unfinished": "A run that has not come to its end.",
    "no-checkpoint": "The run has no checkpoint, or no result, of the kind that is asked for.",
    "checkpoint-mismatch": "A checkpoint that does not belong to this run or version.",
    "settings-changed": "A run that is resumed with settings that would change what was trained.",
    "run-failed": "Runs of a study that ended with an error.",
    "data-changed": "What the run learns from has changed since it was started.",
    # the machine and the training itself
    "not-finite": "A loss, gradient, weight or latent that is not a finite number.",
    "out-of-memory": "Too little memory on the graphics card or the machine.",
    "device-error": "The graphics card failed, or there is none.",
    "lost-process": "Another process of the run is gone or does not answer.",
    "process-mismatch": "Processes of one run that no longer agree.",
    "missing-package": "A package that is not installed.",
    "package-error": "A package, plug-in or class of the user's choice that does not load or work.",
}


class UserError(ValueError):
    """Error in the user's input, with a message for the user.

    The message names the field, the value, what is allowed and, where there is one, the nearest allowed
    spelling. The command line prints it and exits with code 2. Programs should test the code, since the wording
    of the message may change at any time.

    Attributes:
        code: stable name of the error, one of ERROR_CODES.
        field: the option to change, where a whole section is checked at once; otherwise empty.
    """

    code: str
    field: str

    def __init__(self, message: str, *, code: str, field: str = "") -> None:
        """With the message for the user; a code that is not in ERROR_CODES is a bug (LookupError)."""
        if code not in ERROR_CODES:
            raise LookupError(f"code: {code!r} is not in ERROR_CODES")
        super().__init__(message)
        self.code, self.field = code, field

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by attributes, so that subclasses with other constructors can be copied to another process."""
        return _copy, (type(self), self.args, self.__dict__)

    def followed_by(self, text: str) -> UserError:
        """The same error with a line added to its message."""
        return _copy(type(self), (f"{self}\n{text}",), self.__dict__)


def _copy(kind: type[UserError], arguments: tuple[Any, ...], attributes: dict[str, Any]) -> UserError:
    error = kind.__new__(kind, *arguments)
    error.__dict__.update(attributes)
    return error


class UnknownNameError(UserError):
    """Unknown name; `guess` is the allowed name most like it, or None."""

    def __init__(self, message: str, guess: str | None = None) -> None:
        """With the message, and the guess that it contains."""
        super().__init__(message, code="unknown-name")
        self.guess = guess


class CombinedError(UserError):
    """Several independent errors, such as one for each of several files."""

    def __init__(self, errors: Sequence[UserError]) -> None:
        """With the errors; the message is theirs, one a line."""
        super().__init__("\n".join(str(error) for error in errors), code=one_code(error.code for error in errors))
        self.errors = tuple(errors)


def one_code(codes: Iterable[str]) -> str:
    """The common code of several errors, or `several-mistakes`.

    >>> one_code(["missing-file", "missing-file"]), one_code(["missing-file", "no-images"])
    ('missing-file', 'several-mistakes')
    """
    distinct = set(codes)
    return distinct.pop() if len(distinct) == 1 else "several-mistakes"


DEBUG = "SNRLAB_DEBUG"  # environment variable that makes the command line show tracebacks of bugs


class BugError(RuntimeError):
    """Bug in snrlab: the message says where the bug report is, and __cause__ is the exception itself."""


def first_line(reason: BaseException, otherwise: str = "") -> str:
    r"""The first line of an error's message; `otherwise`, or the error's type, if the message is empty.

    >>> first_line(RuntimeError("no kernel\nat 0x7f")), first_line(KeyError())
    ('no kernel', 'KeyError')
    """
    lines = str(reason).strip().splitlines()
    return lines[0] if lines else otherwise or type(reason).__name__


def nearest(word: str, allowed: Iterable[str]) -> str | None:
    """The allowed word most like `word`, or None if none comes close.

    >>> nearest("min_snr_gama", ["min_snr_gamma", "max_weight"])
    'min_snr_gamma'
    """
    names = list(allowed)
    completions = (name for name in names if len(word) > 2 and name.lower().startswith(word.lower()))
    return alike(word, names) or next(completions, None)


def alike(word: str, allowed: Iterable[str], share: float = 0.6) -> str | None:
    """The allowed word with the most letters in common with `word`, or None if that is less than a `share` of them.

    >>> alike("noise_ofset", ["noise_offset"], 0.75), alike("use_shell", ["use_scalar"], 0.75)
    ('noise_offset', None)
    """
    candidates = {name.lower(): name for name in allowed}
    matches = difflib.get_close_matches(word.lower(), candidates, n=1, cutoff=share)
    return candidates[matches[0]] if matches else None


_MOST_NAMES = 12  # that a message lists, where a command lists them too


def unknown(field: str, value: object, allowed: Iterable[str], *, listed_by: str = "") -> UnknownNameError:
    """The error for a name that is not among `allowed`, with the nearest spelling.

    Args:
        field: the option or kind of name.
        value: the name that is not known.
        allowed: the names that are.
        listed_by: a command that lists them; the message then names it instead of more than twelve names.

    >>> print(unknown("weighting", "min_snrr", ["min_snr", "p2"]))
    weighting: 'min_snrr' is not known. Did you mean 'min_snr'? Allowed: min_snr, p2.
    """
    names = list(allowed)
    guess = nearest(str(value), names)
    hint = f" Did you mean '{guess}'?" if guess else ""
    if listed_by and len(names) > _MOST_NAMES:
        listing = f"All {len(names)} names: {listed_by}"
    else:
        listing = f"Allowed: {', '.join(names)}."
    return UnknownNameError(f"{field}: '{value}' is not known.{hint} {listing}", guess)
