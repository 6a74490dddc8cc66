"""Reference pages from the registries and the run file's schema."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any, get_args

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

import snrlab
from documentation.formula_notation import to_latex
from documentation.kinds import INTRO, KINDS, Kind
from snrlab import (
    DENSITIES,
    LOSSES,
    LR_SCHEDULES,
    NOISES,
    OPTIMIZERS,
    PERTURBATIONS,
    SAMPLINGS,
    SCHEDULES,
    WEIGHTINGS,
)
from snrlab.config.run import RunConfig
from snrlab.config.sections.section import on_resume
from snrlab.core.errors import ERROR_CODES
from snrlab.core.registries.registry import Choice, Entry, Registry
from snrlab.core.registries.samplers import SAMPLERS, WHY_DDIM
from snrlab.core.registries.tensor_registries import LossProperties, NoiseProperties, OptimizerProperties
from snrlab.core.timesteps.density import DensityProperties
from snrlab.core.weights.weighting import WeightingProperties

PAGES = ("run-file.md", "strategies.md", "error-codes.md")  # kept in docs/ too, without pictures
ON_RESUME = {
    "fixed": "refused",
    "free": "taken",
    "place": "taken, if what is there is the same",
    "batch": "taken, if the global batch is the same",
}
ONE_LINE = 100  # characters of a formula that a page shows beside each other
NOTE = "<!-- written by scripts/build_docs.py; edit the docstrings and field descriptions instead -->"


def run_file() -> str:
    """Every field of a run file with default and meaning."""
    top = [(name, f) for name, f in RunConfig.model_fields.items() if section_of(f) is None]
    how = (
        "TOML; an unknown key is an error that names the nearest right one. A strategy is written as a table, "
        '`{ name = "min_snr", gamma = 5.0 }`, or as the command line\'s text, `"min_snr:gamma=5"`; '
        "[strategies.md](strategies.md) lists them. The last column says what a started run does with another value "
        "([safety.md](safety.md)); what it refuses, a new run takes with `--fork NAME`."
    )
    parts = [NOTE, "", "# The run file", "", how, "", *field_table(top)]
    for name, field in RunConfig.model_fields.items():
        section = section_of(field)
        if section is not None:
            parts += ["", f"## [{name}]", "", *field_table(list(section.model_fields.items()))]
            parts += nested_tables(name, section)
    return "\n".join(parts) + "\n"


def nested_tables(name: str, section: type[BaseModel]) -> list[str]:
    """The tables that a section holds lists of: their own fields, and which they share with the section."""
    parts: list[str] = []
    for key, field in section.model_fields.items():
        nested = section_of(field)
        if nested is not None:
            as_above = {k: f.description for k, f in section.model_fields.items()}
            extra = [(k, f) for k, f in nested.model_fields.items() if as_above.get(k) != f.description]
            shared = [f"`{k}`" for k in nested.model_fields if k not in dict(extra)]
            about = (nested.__doc__ or "").partition(": ")[2]
            parts += ["", f"## [[{name}.{key}]]", "", f"{about[0].upper()}{about[1:]} Besides its own fields it may "
                      f"state any of these, as in [{name}]: {', '.join(shared)}.", "", *field_table(extra)]  # fmt: skip
    return parts


def section_of(field: Any) -> type[BaseModel] | None:
    """The section model of a field, or None for a plain value."""
    kinds = (field.annotation, *get_args(field.annotation))  # a section, or a list of them
    return next((k for k in kinds if isinstance(k, type) and issubclass(k, BaseModel)), None)


def field_table(fields: list[tuple[str, Any]]) -> list[str]:
    """Markdown rows: field, default, meaning."""
    rows = ["| field | default | meaning | changed on --resume |", "|---|---|---|---|"]
    for name, field in fields:
        value = field.get_default(call_default_factory=True)
        default = "required" if field.default is PydanticUndefined and not field.default_factory else shown(value)
        meaning = (field.description or "").replace("|", "\\|")
        rows.append(f"| `{name}` | {default} | {meaning} | {ON_RESUME[on_resume(field)]} |")
    return rows


def shown(value: Any) -> str:
    """A default as TOML shows it; a dash for none."""
    if value is None:
        return "-"
    if isinstance(value, Choice):
        value = value.name
    text = f'"{value}"' if isinstance(value, str) else str(value).lower() if isinstance(value, bool) else f"{value}"
    return f"`{text}`"


def error_codes() -> str:
    """Every code of an error."""
    how = (
        "A mistake in what was given ends a command with exit code 2 and one message, which begins with its code: "
        "`snrlab: error[unknown-key]: ...`; in Python it is a `UserError` with the code as its `code`. Codes stay as "
        "they are, whatever becomes of the messages; go by them in programs. What a command says of a recipe, without "
        "refusing it, has codes of its own, in brackets behind the message."
    )
    rows = [f"| `{code}` | {meaning} |" for code, meaning in sorted(ERROR_CODES.items())]
    return "\n".join([NOTE, "", "# Error codes", "", how, "", "| code | meaning |", "|---|---|", *rows]) + "\n"


Illustrate = Callable[[Entry], str]


def strategies(illustrate: Illustrate = lambda entry: "") -> str:
    """Every registered strategy.

    Args:
        illustrate: gives the Markdown of an entry's picture, or nothing.
    """
    parts = [NOTE, "", "# Strategies", "", INTRO]
    recipe = (SCHEDULES, WEIGHTINGS, DENSITIES, SAMPLINGS, PERTURBATIONS, NOISES)
    training = (LOSSES, LR_SCHEDULES, OPTIMIZERS)
    others = [r for r in vars(snrlab).values() if isinstance(r, Registry) and r not in (*recipe, *training)]
    for registry in (*recipe, *others):
        parts += registry_lines(registry, illustrate)
    parts += ["", "# Training", "", "What `[train]` names: `loss`, `lr_schedule` and `optimizer`. The recipe's weights "
              "are for squared errors; with another loss they say how the steps count against each other."]  # fmt: skip
    for registry in training:
        parts += registry_lines(registry, illustrate)
    return "\n".join([*parts, *sampler_lines()]) + "\n"


def sampler_lines() -> list[str]:
    """Markdown of all samplers: names here and in other programs, and what each can do."""
    about = (
        "What draws pictures: `sampler` in `[sample]`, `--ss` in a prompt line, `--sampler` of `snrlab sample` and "
        f"`snrlab evaluate`. The default is for measurement: {WHY_DDIM}. Each sampler is a scheduler of diffusers on "
        "the model's exact schedule. Where a sampler adds noise, the seed and the place of the picture decide it, "
        "whatever else is drawn beside it. The names of kohya and A1111 are taken wherever ours are. A schedule of "
        "zero terminal SNR ends without signal, where some samplers cannot start."
    )
    head = "| name | in A1111 and in PNG files | in kohya | in OneTrainer | scheduler of diffusers | adds noise | "
    rows = [head + "zero terminal SNR | predictions |", "|---|---|---|---|---|---|---|---|"]
    for sampler in SAMPLERS.values():
        names = ", ".join(f"`{name}`" for name in sampler.kohya) or "-"
        onetrainer = f"`{sampler.onetrainer}`" if sampler.onetrainer else "-"
        options = (f"{name}={value!r}" for name, value in sampler.arguments.items())
        scheduler = f"`{sampler.scheduler}({', '.join(options)})`"
        marks = ("yes" if mark else "no" for mark in (sampler.noise, sampler.zero_terminal))
        predictions = ", ".join(sampler.predictions)
        cells = (f"`{sampler.name}`", sampler.title, names, onetrainer, scheduler, *marks, predictions)
        rows.append(f"| {' | '.join(cells)} |")
    return ["", "# Pictures", "", "## Sampler", "", about, "", *rows]


def registry_lines(registry: Registry, illustrate: Illustrate) -> list[str]:
    """Markdown of all entries of a kind."""
    kind = KINDS.get(registry.kind) or Kind(registry.kind.capitalize().replace("_", " "), "")
    pictures = {entry.name: illustrate(entry) for entry in registry.values()}
    about = " ".join(words for words in (kind.about, kind.picture if any(pictures.values()) else "") if words)
    links = ", ".join(f"[`{entry.name}`](#{anchor(entry)})" for entry in registry.values())
    entries = [line for entry in registry.values() for line in entry_lines(entry, pictures[entry.name])]
    return ["", f"## {kind.title}", "", about, "", f"{links}.", "", *entries]


def entry_lines(entry: Entry, picture: str = "") -> list[str]:
    """Markdown of one entry: what it is, formula, picture, parameters, example, source."""
    lines = [f'<a id="{anchor(entry)}"></a>', "", f"### `{entry.name}`", "", *described(entry), ""]
    if entry.formula:
        parts = entry.formula.split(";") if len(entry.formula) > ONE_LINE else [entry.formula]
        lines += [line for part in parts for line in ("$$", to_latex(part.strip()), "$$", "")]
    if picture:
        lines += [picture, ""]
    for name, parameter in entry.parameters.items():
        default = f"default {shown(parameter.default)}" if not parameter.required else "required"
        lines.append(f"- `{name}`: {parameter.allowed}; {default}")
    properties = entry.properties
    if isinstance(properties, WeightingProperties) and (peer := properties.peer):
        lines.append(f"- what {peer.program} does for {peer.stated_for}: {peer.deviates}")
    if isinstance(properties, DensityProperties | NoiseProperties | LossProperties) and properties.changes:
        lines.append(f"- {properties.changes}")
    if isinstance(properties, OptimizerProperties) and properties.requires:
        lines.append(f"- from the package {properties.requires}")
    return [*lines, f"- source: {source(entry.paper)}", "", "```python", *example(entry), "```", ""]


def described(entry: Entry) -> list[str]:
    """The docstring's words, without its example, safe for Markdown."""
    words = (inspect.getdoc(entry.fn) or "").partition(">>>")[0].strip()
    kept, _, _ = words.partition("\nRaises:")
    return [re.sub(r"(?<!`)([*_])", r"\\\1", line) if "`" not in line else line for line in kept.strip().splitlines()]


def example(entry: Entry) -> list[str]:
    """The docstring's example."""
    lines = (inspect.getdoc(entry.fn) or "").splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith(">>>"))
    return lines[start:]


def anchor(entry: Entry) -> str:
    """What links to an entry end with; names such as `curve` are there in several kinds."""
    return f"{entry.kind}-{entry.name}".replace("_", "-")


def source(paper: str) -> str:
    """A paper or address as a link."""
    if paper.startswith("none: "):
        return f"none ({paper.removeprefix('none: ')})"
    if paper.startswith("arXiv:"):
        return f"[{paper}](https://arxiv.org/abs/{paper.removeprefix('arXiv:')})"
    return f"<{paper}>" if paper.startswith("https://") else paper
