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
        _use(config),
        _pictures(config, run),
        f"## Recipe\n\n{recipe[0].upper()}{recipe[1:]}.\n",
        f"![weight and emphasis by noise level]({run.recipe_plot.name})\n",
        _numbers(run),
        f"## Configuration\n\nTrained with snrlab {__version__}:\n\n```toml\n{dump(shareable).strip()}\n```\n",
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


def base_name(config: RunConfig) -> str:
    """Name of the base model: as in the run's [output], or else after its file."""
    model = config.model
    default_name = Path(model.path).name if model.path is not None else f"snrlab-{model.shipped or model.random}"
    return config.output.base_model or default_name.replace("_", "-")


def _use(config: RunConfig) -> str:
    output, lora = config.output, config.train.method == "lora"
    result = (
        f"`{config.name}.safetensors`: a LoRA of rank {config.lora.rank} for" if lora else "All weights, trained from"
    )
    text = f"{result} {base_name(config)}."
    if output.trigger_phrase:
        text += f" Put `{output.trigger_phrase}` into the prompt."
    if output.author:
        text += f" By {output.author}."
    return text + "\n"


def _pictures(config: RunConfig, run: RunFolder) -> str:
    samples = zip(config.sample.prompts, _last_pictures(run), strict=False)
    rows = [f"![{_plain(_text(prompt))}]({file.as_posix()})" for prompt, file in samples]
    return "## Samples\n\n" + "\n".join(rows) + "\n" if rows else ""


def _numbers(run: RunFolder) -> str:
    """The section of numbers: validation errors, and the evaluation if there is one."""
    text = ""
    changes = change_by_band(list(read_validation(run.validation_file)))
    if changes:
        rows = "".join(f"| {band} | {first} | {last} | {change} |\n" for band, (first, last, change) in changes.items())
        text += (
            "## Numbers\n\nUnweighted epsilon error on images that were not trained on, with 95 % intervals:\n\n"
            f"| SNR band | before | after | change |\n|---|---|---|---|\n{rows}"
        )
    evaluation = run.evaluation_file
    if evaluation.exists():
        text += _evaluation(json.loads(evaluation.read_text(encoding="utf-8")))
    return text


def _evaluation(evaluation: dict[str, Any]) -> str:
    """Measures of pictures without and with what was trained, against the true pictures of a style."""
    model, trained = evaluation["rows"][:2]
    rows = "".join(
        f"| {name} | {Estimate(**model['measures'][name])} | {Estimate(**value)} | "
        f"{Estimate(**trained['change'][name])} |\n"
        for name, value in trained["measures"].items()
    )
    return (
        f"\n{evaluation['count']} pictures against the true pictures of {evaluation['style']}:\n\n"
        f"| measure | without | with | change |\n|---|---|---|---|\n{rows}"
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
