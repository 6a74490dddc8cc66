"""Reference pages from the registries and the run file's schema."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

import snrlab
from documentation import trainers
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

FIXTURES = Path(__file__).parents[2] / "tests" / "parity" / "peers"
ON_RESUME = {
    "fixed": "no",
    "free": "yes",
    "place": "yes, to the new place of the same files",
    "batch": "yes, if the global batch stays the same",
}
ONE_LINE = 100  # characters of a formula that a page shows beside each other
NOTE = "<!-- written by scripts/build_docs.py; edit the docstrings and field descriptions instead -->"


def pages() -> dict[str, str]:
    """The pages that are kept in docs/, by file and without pictures."""
    computed = {"trainers.md": f"{NOTE}\n\n{trainers.page(trainers.cases(FIXTURES), None).rstrip()}\n"}
    return {"run-file.md": run_file(), **strategies(), "error-codes.md": error_codes(), **computed}


def run_file() -> str:
    """Every field of a run file with default and meaning."""
    top = [(name, f) for name, f in RunConfig.model_fields.items() if section_of(f) is None]
    how = (
        "TOML; an unknown key is an error that names the nearest right one. A strategy is written as a table, "
        '`{ name = "min_snr", gamma = 5.0 }`, or as the command line\'s text, `"min_snr:gamma=5"`; '
        "[strategies.md](strategies.md) lists them. The last column says which fields you may change in a run that has "
        "started, with `--resume` ([safety.md](safety.md)). To change another one, start a new run from the last "
        "checkpoint: `--fork NAME`."
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
            more = f" It may also have these fields of [{name}]: {', '.join(shared)}." if shared else ""
            parts += ["", f"## [[{name}.{key}]]", "", f"{about[0].upper()}{about[1:]}{more}", "", *field_table(extra)]
    return parts


def section_of(field: Any) -> type[BaseModel] | None:
    """The section model of a field, or None for a plain value."""
    kinds = (field.annotation, *get_args(field.annotation))  # a section, or a list of them
    return next((k for k in kinds if isinstance(k, type) and issubclass(k, BaseModel)), None)


def field_table(fields: list[tuple[str, Any]]) -> list[str]:
    """Markdown rows: field, default, meaning."""
    rows = ["| field | default | meaning | may change with --resume |", "|---|---|---|---|"]
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


def strategies(illustrate: Illustrate = lambda entry: "") -> dict[str, str]:
    """The pages of strategies by file: one that lists the kinds, and one for each kind.

    Args:
        illustrate: gives the Markdown of an entry's picture, or nothing.
    """
    recipe = (SCHEDULES, WEIGHTINGS, DENSITIES, SAMPLINGS, PERTURBATIONS, NOISES)
    training = (LOSSES, LR_SCHEDULES, OPTIMIZERS)
    others = [r for r in vars(snrlab).values() if isinstance(r, Registry) and r not in (*recipe, *training)]
    parts = [NOTE, "", "# Strategies", "", INTRO, "", "## Of a recipe", ""]
    parts += [line for registry in (*recipe, *others) for line in kind_lines(registry)]
    parts += ["## Of training", "", "`[train]` names these. A recipe's weights are made for squared errors. With "
              "another loss they still say how much each noise level counts against the others.", ""]  # fmt: skip
    parts += [line for registry in training for line in kind_lines(registry)]
    parts += sampler_lines()
    pages = {"strategies.md": "\n".join(parts).rstrip() + "\n"}
    for registry in (*recipe, *others, *training):
        pages[kind_page(registry.kind)] = kind_reference(registry, illustrate)
    return pages


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
    return ["## Of pictures", "", "**Sampler.** " + about, "", *rows]


def kind_page(kind: str) -> str:
    """The file of a kind's page.

    >>> kind_page("lr_schedule")
    'strategies/lr-schedule.md'
    """
    return f"strategies/{kind.replace('_', '-')}.md"


def kind_of(registry: Registry) -> Kind:
    """What the reference says of a kind, one that a plug-in brings too."""
    return KINDS.get(registry.kind) or Kind(registry.kind.capitalize().replace("_", " "), "")


def kind_lines(registry: Registry) -> list[str]:
    """Markdown of a kind in the list of kinds: its page, its first sentence, its entries."""
    kind, page = kind_of(registry), kind_page(registry.kind)
    links = ", ".join(f"[`{entry.name}`]({page}#{anchor(entry)})" for entry in registry.values())
    about = kind.about.partition(". ")[0].rstrip(".:") + "." if kind.about else ""
    return [f"**[{kind.title}]({page}).** {about}", "", f"{links}.", ""]


def kind_reference(registry: Registry, illustrate: Illustrate) -> str:
    """Markdown of the page of a kind."""
    kind = kind_of(registry)
    pictures = {entry.name: illustrate(entry) for entry in registry.values()}
    about = " ".join(words for words in (kind.about, kind.picture if any(pictures.values()) else "") if words)
    links = ", ".join(f"[`{entry.name}`](#{anchor(entry)})" for entry in registry.values())
    parts = [NOTE, "", f"# {kind.title}", "", about, "", f"{links}.", ""]
    parts += [line for entry in registry.values() for line in entry_lines(entry, pictures[entry.name])]
    return "\n".join(parts).rstrip() + "\n"


def entry_lines(entry: Entry, picture: str = "") -> list[str]:
    """Markdown of one entry: what it is, formula, picture, parameters, example, source."""
    lines = [f'<a id="{anchor(entry)}"></a>', "", f"## `{entry.name}`", "", *described(entry), ""]
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
