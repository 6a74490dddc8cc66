"""Prompt lines as kohya's trainer reads them: `a red apple --n blurry --w 512 --h 768 --d 1 --l 7 --s 30`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from snrlab.core.errors import UserError, nearest
from snrlab.core.registries.samplers import sampler_named
from snrlab.core.regular_file import check_regular_file
from snrlab.files.text import LARGEST_TEXT

SIDE_MULTIPLE = 8
FLAGS = {
    "n": "negative prompt",
    "w": "width",
    "h": "height",
    "d": "seed",
    "l": "guidance",
    "s": "sampler steps",
    "ss": "sampler",
}
# longer flags that people write, and the right one
LONG_NAMES = {"negative": "n", "width": "w", "height": "h", "seed": "d", "guidance": "l", "steps": "s", "sampler": "ss"}


@dataclass(frozen=True)
class PromptLine:
    """Prompt line: a prompt with settings for its picture; None leaves a setting to the section [sample].

    Attributes:
        prompt: text of the prompt.
        negative: negative prompt.
        width, height: size in pixels.
        seed: seed of the starting noise.
        guidance: classifier-free guidance scale.
        steps: sampler steps.
        sampler: name of the sampler, a key of SAMPLERS.
    """

    prompt: str
    negative: str | None = None
    width: int | None = None
    height: int | None = None
    seed: int | None = None
    guidance: float | None = None
    steps: int | None = None
    sampler: str | None = None


def parse_line(line: str, where: str) -> PromptLine:
    """Parse a prompt line; `where` begins the message of an error.

    >>> line = parse_line("a cat, sitting --n blurry --d 7 --ss DPM++ 2M Karras", "line 1")
    >>> line.prompt, line.negative, line.seed, line.steps, line.sampler
    ('a cat, sitting', 'blurry', 7, None, 'dpmpp_2m_karras')

    Raises:
        UserError: an unknown or repeated flag, or an invalid value.
    """
    if "\n" in line.strip():
        raise UserError(f"{where}: a prompt is one line.", code="invalid-syntax")
    prompt, *flags = re.split(r"(?:^|\s)--(?=[A-Za-z])", line.strip())
    settings: dict[str, Any] = {}
    for flag in flags:
        name, _, value = flag.partition(" ")
        field, parse = _flag_parser(name.lower(), where)
        if field in settings:
            raise UserError(f"{where}: --{name} is given twice.", code="stated-twice")
        settings[field] = parse(value.strip(), f"{where}: --{name} ({FLAGS[name.lower()]})")
    return PromptLine(prompt.strip(), **settings)


def is_comment(line: str) -> bool:
    """Whether a line is a comment."""
    return line.lstrip().startswith("#")


def read_lines(path: Path, field: str = "sample.prompts_file") -> list[str]:
    """Read and check the prompt lines of a file, without blank lines and comments.

    Args:
        path: text file with one prompt a line.
        field: option that names the file, with which messages begin; empty for none.

    Raises:
        UserError: the file cannot be read, has an invalid line, or has no prompts.
    """
    prefix = f"{field}: " if field else ""
    if path.suffix.lower() in (".toml", ".json"):
        raise UserError(
            f"{prefix}{path} is a {path.suffix} file; write one prompt a line in a .txt file.", code="wrong-file"
        )
    check_regular_file(path, field, LARGEST_TEXT)
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError:
        raise UserError(f"{prefix}there is no file {path}.", code="missing-file") from None
    except (OSError, UnicodeDecodeError) as reason:
        raise UserError(f"{prefix}{path} cannot be read ({reason}).", code="unreadable-file") from None
    prompts = []
    for number, line in enumerate(lines, 1):
        if line.strip() and not is_comment(line):
            parse_line(line, f"{f'{field}, ' if field else ''}{path.name}, line {number}")
            prompts.append(line.strip())
    if not prompts:
        raise UserError(f"{prefix}there is no prompt in {path}.", code="nothing-to-do")
    return prompts


def check_lines(lines: Iterable[str]) -> list[str]:
    """Check prompt lines and return those that are not comments (UserError)."""
    prompts = [line for line in lines if not is_comment(line)]
    for number, line in enumerate(prompts, 1):
        parse_line(line, f"prompt {number}")
    return prompts


def _flag_parser(name: str, where: str) -> tuple[str, Callable[[str, str], Any]]:
    """(field of PromptLine that a flag sets, function that parses its value)."""
    match name:
        case "n":
            return "negative", lambda value, _: value
        case "w" | "h":
            return {"w": "width", "h": "height"}[name], _parse_side
        case "d":
            return "seed", lambda value, at: _parse_number(value, at, int, 0, 2**63 - 1)
        case "s":
            return "steps", lambda value, at: _parse_number(value, at, int, 1, 1000)
        case "l":
            return "guidance", lambda value, at: _parse_number(value, at, float, 1, 100)
        case "ss":
            return "sampler", lambda value, at: sampler_named(value, at).name
    known = ", ".join(f"--{flag} {meaning}" for flag, meaning in FLAGS.items())
    guess = nearest(name, LONG_NAMES)
    hint = f" Did you mean --{LONG_NAMES[guess]}?" if guess else ""
    raise UserError(f"{where}: --{name} is not known.{hint} Allowed: {known}.", code="unknown-name")


def _parse_side(value: str, at: str) -> int:
    side = int(_parse_number(value, at, int, SIDE_MULTIPLE, 8192))
    if side % SIDE_MULTIPLE:
        raise UserError(
            f"{at} is {side}; it must be a multiple of {SIDE_MULTIPLE}, such as {side - side % SIDE_MULTIPLE}.",
            code="wrong-size",
        )
    return side


def _parse_number(value: str, at: str, kind: type[int] | type[float], low: float, high: float) -> float:
    try:
        number = kind(value)
    except ValueError:
        expected = "a whole number" if kind is int else "a number"
        raise UserError(f"{at} is '{value}'; it must be {expected}.", code="not-a-number") from None
    if not low <= number <= high:
        raise UserError(f"{at} is {value}; it must be {low:g} to {high:g}.", code="out-of-range")
    return number
