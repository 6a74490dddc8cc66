"""Numbers and console blocks in the pages that are computed again at every build; what is stale fails it.

In the text a number is followed by a comment with the expression that it must equal, to the digits that are written:

    Debiased has a mean weight of 3.02<!--= tables("debiased").mean_weight -->.

In the guide a fenced block `console` holds commands and what they print; each is run. A block `console fold` is
shut on the page until the reader opens it. `build_docs.py --write` puts in
what is right. Other pages need files that their own tests make; their blocks are left to those.
"""

from __future__ import annotations

import contextlib
import doctest
import io
import os
import re
import shlex
import shutil
import tempfile
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from documentation.gaussian_world import sampled_variance
from documentation.problems import Problems
from snrlab import cli
from snrlab.core.errors import UserError
from snrlab.core.recipe import Tables
from snrlab.core.schedule import SCHEDULES, zero_terminal_snr
from snrlab.lab.profile import expected_loss, gradient_size, ideal_profile, shares, shipped_profile
from snrlab.lab.recipe_text import parse_recipe

NUMBER = re.compile(r"(?P<number>-?\d[\d,]*(?:\.\d+)?(?:e[-+]?\d+)?)(?P<comment><!--=(?P<code>.*?)-->)", re.S)
LOOSE = re.compile(r"<!--=(.*?)-->", re.S)
CONSOLE = re.compile(r"^```console(?P<fold> fold)?\n(?P<lines>.*?)^```$", re.S | re.M)
PYTHON = re.compile(r"^```python\n(.*?)^```$", re.S | re.M)
FOLD = 84  # characters that a page shows without scrolling
EXAMPLES = Path(__file__).parents[2] / "tests" / "lab" / "configurations"
SETTINGS = Path(__file__).parent / "my-training.toml"  # what a user's file may look like


def tables(recipe: str) -> Tables:
    """The tables of a recipe written on one line, as `snrlab plot` takes it."""
    return parse_recipe(recipe)[1].tables()


def share(recipe: str, kind: str = "weight", first: int = 0, last: int = 999, *, ideal: bool = False) -> float:
    """Per cent of weight, loss or gradient energy at first <= t <= last, by the shipped or the ideal profile."""
    computed = tables(recipe)
    profile = ideal_profile(computed.log_snr) if ideal else shipped_profile()
    return float(100 * shares(computed, profile)[kind][first : last + 1].sum())


def loss(recipe: str, against: str = "plain", *, ideal: bool = False) -> float:
    """The expected weighted loss of a recipe over that of another one, by the shipped or the ideal profile."""
    return _ratio(expected_loss, recipe, against, ideal)


def gradient(recipe: str, against: str = "plain", *, ideal: bool = False) -> float:
    """The expected size of a picture's gradient, likewise."""
    return _ratio(gradient_size, recipe, against, ideal)


def _ratio(measure: Any, recipe: str, against: str, ideal: bool) -> float:
    compared = [tables(text) for text in (recipe, against)]
    profile = ideal_profile(compared[0].log_snr) if ideal else shipped_profile()
    one, other = (measure(t, profile) for t in compared)
    return float(one / other)


def spread(recipe: str) -> tuple[float, float]:
    """Mean and standard deviation of log SNR over the steps that a recipe draws."""
    computed = tables(recipe)
    mean = float(np.sum(computed.p * computed.log_snr))
    return mean, float(np.sqrt(np.sum(computed.p * (computed.log_snr - mean) ** 2)))


SD = SCHEDULES.bind("sd")()
NAMES: dict[str, Any] = {
    "np": np, "tables": tables, "share": share, "spread": spread, "loss": loss,
    "gradient": gradient, "sd": SD, "zero": zero_terminal_snr(SD),
    "sampled_variance": sampled_variance, "SCHEDULES": SCHEDULES,
}  # fmt: skip


def check(text: str, place: str, problems: Problems, *, commands: bool = True) -> str:
    """The page with what is right in place of what is stale, which is noted.

    Args:
        text: Markdown.
        place: how messages call the page.
        problems: takes what is found.
        commands: whether console blocks are run.
    """
    text = NUMBER.sub(lambda m: _number(m, place, text, problems), text)
    for match in LOOSE.finditer(text):
        if not re.search(r"\d$", text[: match.start()]):
            problems.add(_line(place, text, match.start()), "a computed comment without a number before it")
    if commands:
        text = CONSOLE.sub(lambda m: _console(m, place, text, problems), text)
    _doctests(text, place, problems)
    return text


def strip(text: str) -> str:
    """The page without the expressions."""
    return LOOSE.sub("", text)


def _number(match: re.Match[str], place: str, text: str, problems: Problems) -> str:
    written, code = match["number"], match["code"].strip()
    where = _line(place, text, match.start())
    try:
        value = float(eval(code, dict(NAMES)))  # the pages are ours
    except Exception as reason:
        problems.add(where, f"{code} does not compute ({type(reason).__name__}: {reason})")
        return match[0]
    right = _as_written(value, written)
    if right != written:
        problems.add(where, f"{written} is stale: {code} is {right} (build_docs.py --write puts it in)")
    return right + match["comment"]


def _as_written(value: float, written: str) -> str:
    """The value with as many decimals, and the separators, of the text.

    >>> _as_written(1175.47, "1,175"), _as_written(0.0046819, "0.0047")
    ('1,175', '0.0047')
    """
    if "e" in written:
        mantissa = written.partition("e")[0]
        digits = len(mantissa.partition(".")[2])
        head, _, exponent = f"{value:.{digits}e}".partition("e")
        return f"{head}e{int(exponent)}"
    decimals = len(written.partition(".")[2])
    separator = "," if "," in written or (abs(value) >= 10_000 and len(written) < 4) else ""
    return f"{value:{separator}.{decimals}f}"


def _console(match: re.Match[str], place: str, text: str, problems: Problems) -> str:
    parts = []
    for command in re.split(r"^(?=\$ )", match["lines"], flags=re.M):
        if not command.startswith("$ "):
            continue
        line, _, shown = command.partition("\n")
        while line.endswith("\\"):
            more, _, shown = shown.partition("\n")
            line += "\n" + more
        real = run(line.removeprefix("$ ").replace("\\\n", " "))
        if "...\n" in shown:  # the beginning and the end only
            start, _, end = shown.partition("...\n")
            if real.startswith(start) and real.endswith(end):
                parts.append(f"{line}\n{shown}")
                continue
        if real.rstrip() != shown.rstrip():
            problems.add(_line(place, text, match.start()), f"{line[2:]} prints something else now")
        parts.append(f"{line}\n{real.rstrip()}\n")
    return f"```console{match['fold'] or ''}\n" + "".join(parts) + "```"


def run(command: str) -> str:
    """What a command of snrlab prints, run in a folder with the examples of configurations in it."""
    name, *arguments = shlex.split(command)
    if name != "snrlab":
        raise ValueError(f"{command}: only snrlab's commands are run")
    output = io.StringIO()
    with tempfile.TemporaryDirectory() as folder:
        for file in (SETTINGS, *EXAMPLES.iterdir()):
            shutil.copy(file, folder)
        with contextlib.chdir(folder), contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
            try:
                cli.app(arguments, standalone_mode=False)
            except UserError as mistake:
                cli.print_error(mistake)
    return "".join(line + "\n" for text in output.getvalue().splitlines() for line in _folded(text.rstrip()))


def _folded(line: str) -> list[str]:
    """A line of words as a terminal of usual width folds it; tables stay as they are."""
    return textwrap.wrap(line, FOLD) if len(line) > FOLD and " " in line.strip() and "  " not in line else [line]


def _doctests(text: str, place: str, problems: Problems) -> None:
    """Run the page's `>>>` examples, one after the other in one scope."""
    blocks = [m[1] for m in PYTHON.finditer(text) if m[1].startswith(">>>")]
    if not blocks:
        return
    test = doctest.DocTestParser().get_doctest("\n".join(blocks), {}, place, place, 0)
    output = io.StringIO()
    doctest.DocTestRunner(verbose=False, optionflags=doctest.NORMALIZE_WHITESPACE).run(test, out=output.write)
    if output.getvalue():
        problems.add(place, f"an example does not hold:{os.linesep}{output.getvalue()}")


def _line(place: str, text: str, at: int) -> str:
    return f"{place}:{text.count(chr(10), 0, at) + 1}"


def expressions(text: str) -> Iterator[str]:
    """The expressions of a page."""
    for match in NUMBER.finditer(text):
        yield match["code"].strip()
