"""Model card of a run: README.md for model hubs, made from the run folder alone."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from snrlab import __version__
from snrlab.config import RunConfig, dump
from snrlab.config.prompts import parse_line
from snrlab.config.redact import without_paths
from snrlab.files.writing import write_atomically
from snrlab.lab.figures.run_figures import recipe_png
from snrlab.lab.report import change_by_band
from snrlab.lab.report_parts.facts import base_name, trained_thing, usage
from snrlab.lab.report_parts.verdict import MEASURE_WORDS, direction_mark, main_row, result_sentences
from snrlab.lab.statistics import Estimate
from snrlab.lab.tables import describe
from snrlab.model_files.resolve import resolve_to_show
from snrlab.runs.folder import RunFolder
from snrlab.runs.logs import read_validation


def write_card(folder: Path) -> Path:
    """Write README.md and the recipe's plot into a run folder, and return the path of the card."""
    run = RunFolder(folder)
    config = run.read_config()
    recipe = resolve_to_show(config).recipe
    run.recipe_plot.write_bytes(recipe_png(recipe.tables()))
    write_atomically(run.card_file, card(config, run, describe(recipe)).encode())
    return run.card_file


def card(config: RunConfig, run: RunFolder, recipe: str) -> str:
    """The card as Markdown with YAML front matter; `recipe` describes the recipe in a line."""
    shareable = without_paths(config)
    output = config.output
    sections = [
        front_matter(config, _last_pictures(run)),
        f"# {output.title or config.name}\n",
        f"{output.description}\n" if output.description else "",
        _verdict(config, run),
        _use(config),
        _pictures(config, run),
        f"## Recipe\n\n{recipe[0].upper()}{recipe[1:]}.\n",
        f"![weight and emphasis by noise level]({run.recipe_plot.name})\n",
        _numbers(run),
        f"## Settings\n\nTrained with snrlab {__version__}:\n\n```toml\n{dump(shareable).strip()}\n```\n",
    ]
    return "\n".join(section for section in sections if section)


def front_matter(config: RunConfig, pictures: list[Path]) -> str:
    """The YAML front matter: base model, tags, licence, trigger phrase, pictures."""
    output = config.output
    lora = config.train.method == "lora"
    tags = ["text-to-image", "stable-diffusion", "diffusers", *(["lora", "template:sd-lora"] if lora else []), "snrlab"]
    lines = ["---", f"base_model: {_yaml(base_name(config))}", "tags:"]
    lines += [f"- {_yaml(tag)}" for tag in dict.fromkeys([*tags, *output.tags])]
    if output.license is not None:
        lines.append(f"license: {_yaml(output.license)}")
    if output.trigger_phrase is not None:
        lines.append(f"instance_prompt: {_yaml(output.trigger_phrase)}")
    if pictures:
        lines.append("widget:")
    for prompt, picture in zip(config.sample.prompts, pictures, strict=False):
        lines += [f"- text: {_yaml(_text(prompt))}", "  output:", f"    url: {picture.as_posix()}"]
    return "\n".join([*lines, "---", ""])


def _use(config: RunConfig) -> str:
    """What the result is, and where it goes in other programs."""
    output, thing = config.output, trained_thing(config)
    text = f"{thing[0].upper()}{thing[1:]}, trained on {base_name(config)}."
    if output.author:
        text += f" By {output.author}."
    steps = "\n".join(f"- {_escaped(sentence)}" for sentence in usage(config))
    return f"{text}\n\n## How to use it\n\n{steps}\n"


def _escaped(text: str) -> str:
    """The text with the characters escaped that Markdown or HTML would read as marks."""
    return re.sub(r"([\\`*_<>\[\]])", r"\\\1", text)


def _pictures(config: RunConfig, run: RunFolder) -> str:
    samples = zip(config.sample.prompts, _last_pictures(run), strict=False)
    rows = [f"![{_plain(_text(prompt))}]({file.as_posix()})" for prompt, file in samples]
    return "## Samples\n\n" + "\n".join(rows) + "\n" if rows else ""


def _verdict(config: RunConfig, run: RunFolder) -> str:
    """What got better and what it cost, in sentences."""
    sentences = result_sentences(
        list(read_validation(run.validation_file)), _read_evaluation(run), lora=config.train.method == "lora"
    )
    return " ".join(sentences) + "\n" if sentences else ""


def _numbers(run: RunFolder) -> str:
    """The section of numbers: validation errors, and the evaluation if there is one."""
    text = ""
    changes = change_by_band(list(read_validation(run.validation_file)))
    if changes:
        rows = "".join(
            f"| {band} | {first} | {last} | {change} | {direction_mark(change, higher_is_better=False)} |\n"
            for band, (first, last, change) in changes.items()
        )
        text += (
            "## Numbers\n\nError on images that were not trained on, before any weighting, with 95 % intervals. "
            "Lower is better.\n\n"
            f"| noise level | before | after | change | |\n|---|---|---|---|---|\n{rows}"
        )
    evaluation = _read_evaluation(run)
    return text if evaluation is None else text + _evaluation(evaluation)


def _read_evaluation(run: RunFolder) -> dict[str, Any] | None:
    file = run.evaluation_file
    content: dict[str, Any] | None = json.loads(file.read_text(encoding="utf-8")) if file.exists() else None
    return content


def _evaluation(evaluation: dict[str, Any]) -> str:
    """Measures of pictures without and with what was trained, against the true pictures of a style."""
    model, trained = evaluation["rows"][0], main_row(evaluation)
    if trained is None:
        return ""
    rows = ""
    for name, difference in trained["change"].items():
        words, moved = MEASURE_WORDS.get(name), Estimate(**difference)
        mark = direction_mark(moved, higher_is_better=words.higher_is_better) if words else ""
        values = (Estimate(**row["measures"][name]) for row in (model, trained))
        rows += f"| {' | '.join(map(str, (name, *values, moved, mark)))} |\n"
    return (
        f"\n{evaluation['count']} pictures against the true pictures of {evaluation['style']}:\n\n"
        f"| measure | without | with | change | |\n|---|---|---|---|---|\n{rows}"
    )


def _last_pictures(run: RunFolder) -> list[Path]:
    """Paths of the single pictures of the last grid, relative to the run folder."""
    return [file.relative_to(run.path) for file in run.last_sample_images()]


def _text(prompt: str) -> str:
    """The prompt of a prompt line, without its flags."""
    return parse_line(prompt, "prompt").prompt


def _plain(text: str) -> str:
    """The text with the characters escaped that end Markdown brackets."""
    return re.sub(r"([\\\[\]])", r"\\\1", text)


def _yaml(text: str) -> str:
    """The text quoted as in JSON, which YAML always reads as a string."""
    return json.dumps(text, ensure_ascii=False)
