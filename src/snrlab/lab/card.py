"""A run's model card: README.md as model hubs read it, made from the files of the run folder alone."""

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
from snrlab.lab.figures.run_figures import recipe_picture
from snrlab.lab.report import change_by_band
from snrlab.lab.statistics import Estimate
from snrlab.lab.tables import describe
from snrlab.model_files.resolve import resolve_to_show
from snrlab.runs.folder import RunFolder
from snrlab.runs.logs import read_validation


def write_card(folder: Path) -> Path:
    """Write README.md and the recipe's plot into a run folder; the path of the card."""
    run = RunFolder(folder)
    config = run.read_config()
    recipe = resolve_to_show(config).recipe
    run.recipe_plot.write_bytes(recipe_picture(recipe.tables()))
    write_atomically(run.card_file, card(config, run, describe(recipe)).encode())
    return run.card_file


def card(config: RunConfig, run: RunFolder, recipe: str) -> str:
    """The card as Markdown with a YAML head; `recipe` describes the recipe in a line."""
    shown = without_paths(config)
    output = config.output
    parts = [
        front_matter(config, _last_pictures(run)),
        f"# {output.title or config.name}\n",
        f"{output.description}\n" if output.description else "",
        _use(config),
        _pictures(config, run),
        f"## Recipe\n\n{recipe[0].upper()}{recipe[1:]}.\n",
        f"![weight and emphasis by noise level]({run.recipe_plot.name})\n",
        _numbers(run),
        f"## Configuration\n\nTrained with snrlab {__version__}:\n\n```toml\n{dump(shown).strip()}\n```\n",
    ]
    return "\n".join(part for part in parts if part)


def front_matter(config: RunConfig, pictures: list[Path]) -> str:
    """The YAML head: base model, tags, licence, the words to prompt with, pictures."""
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
    """What the base model is called: as the run says, else its own name."""
    model = config.model
    own = Path(model.path).name if model.path is not None else f"snrlab-{model.shipped or model.random}"
    return config.output.base_model or own.replace("_", "-")


def _use(config: RunConfig) -> str:
    output, lora = config.output, config.train.method == "lora"
    what = (
        f"`{config.name}.safetensors`: a LoRA of rank {config.lora.rank} for" if lora else "All weights, trained from"
    )
    text = f"{what} {base_name(config)}."
    if output.trigger_phrase:
        text += f" Put `{output.trigger_phrase}` into the prompt."
    if output.author:
        text += f" By {output.author}."
    return text + "\n"


def _pictures(config: RunConfig, run: RunFolder) -> str:
    shown = zip(config.sample.prompts, _last_pictures(run), strict=False)
    rows = [f"![{_plain(_text(prompt))}]({file.as_posix()})" for prompt, file in shown]
    return "## Samples\n\n" + "\n".join(rows) + "\n" if rows else ""


def _numbers(run: RunFolder) -> str:
    """What was measured on images that were not trained on; and against true pictures, where there are."""
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


def _evaluation(found: dict[str, Any]) -> str:
    """Measures of pictures with and without what was trained, of a style whose true pictures are known."""
    model, trained = found["rows"][:2]
    rows = "".join(
        f"| {name} | {Estimate(**model['measures'][name])} | {Estimate(**value)} | "
        f"{Estimate(**trained['change'][name])} |\n"
        for name, value in trained["measures"].items()
    )
    return (
        f"\n{found['count']} pictures against the true pictures of {found['style']}:\n\n"
        f"| measure | without | with | change |\n|---|---|---|---|\n{rows}"
    )


def _last_pictures(run: RunFolder) -> list[Path]:
    """The single pictures of the last grid, relative to the folder."""
    return [file.relative_to(run.path) for file in run.last_sample_images()]


def _text(prompt: str) -> str:
    """What a prompt's line shows, without its flags."""
    return parse_line(prompt, "prompt").prompt


def _plain(text: str) -> str:
    """A text that Markdown leaves as it is within brackets."""
    return re.sub(r"([\\\[\]])", r"\\\1", text)


def _yaml(text: str) -> str:
    """A text as YAML reads it for certain: JSON's quotes."""
    return json.dumps(text, ensure_ascii=False)
