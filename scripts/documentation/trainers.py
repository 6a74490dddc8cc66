"""What trainers really compute: a page from the outputs of their own functions, tests/parity/peers/*.json.

Each file says which repository, commit, file and function it is from, what was set, what came out, whether that is what
the paper means, and a note. The parity tests hold our formulas against the same files.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from documentation.drawings import WIDTH
from snrlab.lab.figures.plots import figure_bytes
from snrlab.lab.figures.theme import THEMES
from snrlab.lab.recipe_text import parse_recipe

Case = Mapping[str, Any]
Draw = Callable[[str, str, str], str]
LIGHT = THEMES["light"]
SHOWN = (0, 146, 353, 500, 900, 999)
NAMES = {
    "kohya-ss/sd-scripts": "kohya sd-scripts", "Nerogar/OneTrainer": "OneTrainer", "huggingface/diffusers": "diffusers",
    "ostris/ai-toolkit": "ai-toolkit", "bghira/SimpleTuner": "SimpleTuner",
    "tdrussell/diffusion-pipe": "diffusion-pipe", "TiankaiHang/Min-SNR-Diffusion-Training": "Min-SNR, its authors",
    "yuhuUSTC/Debias": "Debiased Estimation, its authors", "forever208/DDPM-IP": "IP noise, its authors",
    "crowsonkb/k-diffusion": "k-diffusion", "jychoi118/P2-weighting": "P2, its authors",
    "victorchall/EveryDream2trainer": "EveryDream 2", "kukaiN/EasyTrainer_Wasabi_addon": "EasyTrainer Wasabi add-on",
}  # fmt: skip
INTRO = """# What trainers really compute

The same name stands for different formulas in different programs. Nothing on this page is said from memory: each value
came out of the program's own function, called on Stable Diffusion's schedule, at the commit that is named, unless a row
says that it was derived from the formula. The outputs lie in `tests/parity/peers/`, with the command that makes them
again. Programs change; look at the commit before you quote a row.

**As meant** says whether the output is what the paper, or the option's name, promises. Some of the differences are
tiny, some change the result. $S$ is the SNR, $t$ the timestep, 0 the cleanest.
"""


def cases(folder: Path) -> dict[str, Case]:
    """The fixtures by file name."""
    return {f.stem: json.loads(f.read_text(encoding="utf-8")) for f in sorted(folder.glob("*.json"))}


def page(by_name: Mapping[str, Case], figure: Draw | None) -> str:
    """Markdown of the page.

    Args:
        by_name: fixtures by name.
        figure: (SVG, what it shows, caption) to a figure; None for a page without pictures.
    """
    programs = sorted(_by_repository(by_name).items(), key=lambda p: -sum(not c["agrees"] for c in p[1].values()))
    parts = [INTRO, *summary(by_name, programs)]
    for repository, program_cases in programs:
        parts += section(repository, program_cases, figure)
    return "\n".join(parts)


def summary(by_name: Mapping[str, Case], programs: Sequence[tuple[str, Mapping[str, Case]]]) -> list[str]:
    """Every case that is not as meant, a row for each."""
    wrong = [(name, case) for _, of_program in programs for name, case in of_program.items() if not case["agrees"]]
    lines = ["## What is not as meant", "", f"{len(wrong)} of {len(by_name)} cases of {len(programs)} programs.", "",
             "| case | what is set | what comes out |", "|---|---|---|"]  # fmt: skip
    for name, case in wrong:
        link = f"[{name.replace('-', ' ')}](#{anchor(name)})"
        lines.append(f"| {link} | {_set(case)} | {_safe(case['note'])} {_furthest(case)} |")
    return [*lines, ""]


def anchor(name: str) -> str:
    """What links to a case end with."""
    return f"case-{name}"


def section(repository: str, program_cases: Mapping[str, Case], figure: Draw | None) -> list[str]:
    """One program: a table, then each case that is not as meant."""
    commits = sorted({case["commit"] for case in program_cases.values()})
    licences = sorted({case["licence"] for case in program_cases.values()})
    links = ", ".join(f"[`{c[:8]}`](https://github.com/{repository}/tree/{c})" for c in commits)
    about = f"[{repository}](https://github.com/{repository}) at {links}; licence: {', '.join(licences)}."
    lines = [f"## {NAMES.get(repository, repository)}", "", about, ""]
    lines += ["| as meant | what is set | function |", "|---|---|---|"]
    for name, case in program_cases.items():
        where = f"https://github.com/{repository}/blob/{case['commit']}/{case['file']}"
        verdict = "yes" if case["agrees"] else f"**no**: [see](#{anchor(name)})"
        derived = " (formula derived, not run)" if case["derived"] else ""
        function = case["function"].replace("_", "\\_<wbr>")
        lines.append(f"| {verdict} | {_set(case)} | [{function}]({where}){derived} |")
    lines.append("")
    for name, case in program_cases.items():
        if not case["agrees"]:
            lines += detail(name, case, figure)
    return lines


def detail(name: str, case: Case, figure: Draw | None) -> list[str]:
    """One case that is not as meant: note, place, numbers."""
    where = f"https://github.com/{case['repository']}/blob/{case['commit']}/{case['file']}"
    heading = [f'<a id="{anchor(name)}"></a>', "", f"### {name.replace('-', ' ')}", ""]
    lines = [*heading, _set(case), "", _safe(case["note"]), "",
             f"[`{case['file']}`]({where}), `{case['function']}`", ""]  # fmt: skip
    outputs = case["outputs"]
    if rows := _weights(case):
        meant = parse_recipe(case["meant"])[1].tables().weight
        t = np.array(outputs["t"])
        theirs = np.array([np.nan if w is None else w for w in outputs["weight"]], dtype=float)
        lines += ["| t | theirs | as meant |", "|---|---|---|",
                  *(f"| {s} | {_number(a)} | {_number(b)} |" for s, a, b in rows), ""]  # fmt: skip
        caption = f"Dots: what came out. Line: `{case['meant']}`."
        if figure is not None:
            lines += [figure(_drawn(t, theirs, meant), f"weight by timestep, {name} and as meant", caption), ""]
    elif isinstance(outputs, Mapping) and "t" in outputs:
        keys = [k for k, v in outputs.items() if k != "t" and isinstance(v, list) and len(v) == len(outputs["t"])]
        if len(outputs["t"]) <= 12:
            lines += ["| t | " + " | ".join(k.replace("_", " ") for k in keys) + " |", "|---" * (len(keys) + 1) + "|"]
            lines += [f"| {t} | " + " | ".join(_number(outputs[k][i]) for k in keys) + " |"
                      for i, t in enumerate(outputs["t"])] + [""]  # fmt: skip
    return lines


def _weights(case: Case) -> list[tuple[int, float, float]]:
    """(t, theirs, as meant) at the steps that are shown, of a weight."""
    if case["kind"] != "weight" or not case["meant"] or "weight" not in case["outputs"]:
        return []
    meant = parse_recipe(case["meant"])[1].tables().weight
    theirs = dict(zip(case["outputs"]["t"], case["outputs"]["weight"], strict=True))
    return [(t, np.nan if theirs[t] is None else float(theirs[t]), float(meant[t])) for t in SHOWN if t in theirs]


def _furthest(case: Case) -> str:
    """The step where a weight is off by the largest factor, with both weights, in words."""
    with np.errstate(divide="ignore"):
        off = [(abs(np.log(theirs) - np.log(meant)), t, theirs, meant) for t, theirs, meant in _weights(case)]
    off = [row for row in off if not np.isnan(row[0])]
    if not off:
        return ""
    _, t, theirs, meant = max(off)
    return f"At t = {t}: {_number(theirs)} instead of {_number(meant)}."


def _by_repository(by_name: Mapping[str, Case]) -> dict[str, dict[str, Case]]:
    groups: dict[str, dict[str, Case]] = {}
    for name, case in by_name.items():
        groups.setdefault(case["repository"], {})[name] = case
    return groups


def _set(case: Case) -> str:
    """The settings, as a line."""
    inputs = case["inputs"] if isinstance(case["inputs"], Mapping) else {}
    shown = [f"`{k} = {str(v).lower() if isinstance(v, bool) else v}`" for k, v in inputs.items()]
    return ", ".join(shown) or "nothing"


def _safe(text: str) -> str:
    """A note with its names and formulas as code is too much to guess; only what Markdown would eat is escaped."""
    parts = text.split("`")
    escape = str.maketrans({"*": "\\*", "_": "\\_", "<": "&lt;"})
    return "`".join(part.translate(escape) if i % 2 == 0 else part for i, part in enumerate(parts))


def _number(value: Any) -> str:
    return "none" if value is None or not np.isfinite(value) else f"{value:.4g}"


def _drawn(t: Any, theirs: Any, meant: Any) -> str:
    with mpl.rc_context(LIGHT.rc()):
        figure = Figure(figsize=(WIDTH, 2.9), layout="constrained")
        axes = figure.subplots()
        axes.plot(np.arange(len(meant)), meant, color=LIGHT.lines[0], label="as meant")
        axes.plot(t, theirs, "o", color=LIGHT.lines[1], markersize=4.5, label="this program")
        axes.set_xlim(-10, len(meant) + 9)
        axes.set_ylim(bottom=0)
        axes.set(xlabel="timestep t (0 is the cleanest)", ylabel="weight on the\nnetwork's own loss")
        axes.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1), ncols=2, borderaxespad=0)
        text = figure_bytes(figure, "svg").decode()
    return text[text.index("<svg") :]
