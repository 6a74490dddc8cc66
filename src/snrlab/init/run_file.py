"""Draft of a run file from a folder of images, a base model and a preset."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from snrlab.config.load import parse_run
from snrlab.config.presets import BASE_NAMES, Preset, load_preset
from snrlab.config.run_file_text import Line, run_text
from snrlab.config.sections.data import DataConfig
from snrlab.data.dataset import DataDiscovery, find, select_items
from snrlab.init.trigger_word import are_tags, guess_trigger
from snrlab.model_files.base_model import BaseModel, identify

# a tenth of the images is held out: one where every image counts, two or more where that leaves enough to train on
VALIDATION_PART, VALIDATION_MOST = 10, 16
VALIDATION_FROM, VALIDATION_PAIR_FROM = 5, 10  # images from which on one is held out, and two
SEED = 0
SCENES = ("on a beach", "in a city street at night", "made of glass")
SUBJECTS = ("a lighthouse on a cliff", "a cat on a chair", "a portrait of a woman")


@dataclass(frozen=True)
class RunFileDraft:
    """Text of a run file, and a summary of what it was made from, line by line."""

    text: str
    summary: tuple[str, ...]


@dataclass(frozen=True)
class FolderContents:
    """Contents of a folder of images.

    Attributes:
        count: number of images.
        entries: number of images in an epoch, repeats included, without those held out.
        held_out: number of images that are measured and not trained on.
        captions: the captions that are not empty.
        uncaptioned: number of images without a caption.
        shared_word: the rare word or tag that nearly all captions share; None if there is none.
        summaries: lines about the folder for the user.
    """

    folder: Path
    count: int
    entries: int
    held_out: int
    captions: tuple[str, ...]
    uncaptioned: int
    shared_word: str | None
    summaries: tuple[str, ...]


def draft_run_file(images: Path, model: str, preset_name: str, name: str = "") -> RunFileDraft:
    """Draft the run file for a folder of images, a base model and a preset.

    Args:
        images: the folder.
        model: path of the base model, or name of one that ships.
        preset_name: name of the preset.
        name: of the run; empty takes the folder's name.

    Raises:
        UserError: no such folder, model or preset, or images that cannot be trained on.
    """
    preset, base, contents = load_preset(preset_name), identify(model), look_at_images(images)
    trigger = contents.shared_word or (folder_word(contents.folder) if preset.trigger else None)
    fields = [*_source_lines(contents, base, name), *_preset_lines(preset, contents, base, trigger)]
    steps, batch = _value_of(fields, "train.steps", 0), _value_of(fields, "train.batch_size", 1)
    trained = contents.count - contents.held_out
    views = f"each of {trained} images seen about {steps * batch / trained:.0f} times"
    gigabytes = preset.memory.get(base.kind)
    memory = f"fits a graphics card with {gigabytes} GB" if gigabytes else "runs on any machine"
    comments = [
        f"{preset_name} for {BASE_NAMES[base.kind]}. {preset.summary}",
        f"{memory[0].upper()}{memory[1:]}; {steps} steps of {batch}: {views}.",
        "",
        "Written by snrlab init. A field that is not here has its default: docs/run-file.md.",
    ]
    text = run_text(fields, comments)
    parse_run(tomllib.loads(text), source="the new run file")
    summary = [*contents.summaries, base.summary, f"{preset_name}: {memory}; {steps} steps of {batch}: {views}"]
    if trigger:
        source = (
            "in the captions" if contents.shared_word else "from the folder's name; change it to a word of your own"
        )
        summary.append(f"trigger word: {trigger} ({source})")
    return RunFileDraft(text, tuple(summary))


def look_at_images(folder: Path) -> FolderContents:
    """Read the images and captions of a folder.

    Raises:
        UserError: it cannot be trained on.
    """
    data = DataConfig(folder=str(folder.absolute()), caption="")
    discovery = find(data)
    discovery.refuse_problems()
    items = [item for group in discovery.all_groups for item in group.items]
    held_out = validation_count(len(items))
    trained, _ = select_items(discovery, data, seed=SEED, hold_back=held_out, batch_size=None)
    captions = tuple(item.captions[0] for item in items if item.captions[0])
    return FolderContents(
        folder=folder.absolute(),
        count=len(items),
        entries=sum(item.repeats for item in trained),
        held_out=held_out,
        captions=captions,
        uncaptioned=len(items) - len(captions),
        shared_word=guess_trigger(captions),
        summaries=_summaries(discovery),
    )


def validation_count(images: int) -> int:
    """Number of images to hold out of a folder of so many.

    >>> [validation_count(images) for images in (4, 8, 12, 60, 1000)]
    [0, 1, 2, 6, 16]
    """
    least = 2 if images >= VALIDATION_PAIR_FROM else 1 if images >= VALIDATION_FROM else 0
    return min(max(images // VALIDATION_PART, least), VALIDATION_MOST)


def _summaries(discovery: DataDiscovery) -> tuple[str, ...]:
    groups = discovery.all_groups
    return tuple(line for group in groups for line in (*group.summaries, *(f"  {note}" for note in group.notes)))


def _source_lines(contents: FolderContents, base: BaseModel, name: str) -> list[Line]:
    """Lines for the run's name, seed, base model and images."""
    lines = [
        Line("name", name or slug(contents.folder.name), "The run goes into runs/NAME, the result has this name."),
        Line("seed", SEED, "Every random number follows from it."),
        Line("model.shipped", base.shipped) if base.shipped else Line("model.path", str(base.path)),
        Line("data.folder", str(contents.folder)),
    ]
    if base.prediction_type is None:
        reason = (
            "The file does not say it. Most SD 2 models are for 768 pixels and predict v, those for 512 predict "
            "epsilon; snrlab train RUN --check tests the weights and says if this is wrong."
        )
        lines.append(Line("recipe.prediction_type", "v_prediction", reason))
    return lines


def slug(text: str) -> str:
    """A text turned into a valid run name.

    >>> slug("My pictures é"), slug("10_sks dog"), slug("写真")
    ('My-pictures', '10_sks-dog', 'run')
    """
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-._")[:60] or "run"


def _preset_lines(preset: Preset, contents: FolderContents, base: BaseModel, trigger: str | None) -> list[Line]:
    """Lines for the preset's fields, fitted to the images."""
    tags = are_tags(contents.captions)
    fields = [
        _fit_to_images(Line(field.name, field.values[base.kind], field.why), contents, base)
        for field in preset.fields
        if base.kind in field.values and (tags or not field.tags_only)
    ]
    steps = _steps_line(preset, contents, _value_of(fields, "train.batch_size", 1))
    lora = _value_of(fields, "train.method", "lora") == "lora"
    return [*fields, *_caption_lines(contents, trigger), steps, *_output_lines(contents, trigger, steps.value, lora)]


def _fit_to_images(line: Line, contents: FolderContents, base: BaseModel) -> Line:
    """A preset's line, changed where these images or this model need another value."""
    if line.field == "train.batch_size" and line.value > contents.entries:
        return Line(line.field, contents.entries, "No more images than this are left to train on.")
    if line.field == "data.resolution" and base.kind == "sd2" and base.prediction_type == "epsilon":
        return Line(line.field, 512, "SD 2 models that predict epsilon were made for 512.")
    return line


def _caption_lines(contents: FolderContents, trigger: str | None) -> list[Line]:
    """Lines for the caption of images without one, or for the trigger word if no caption has it."""
    if contents.uncaptioned:
        reason = f"{contents.uncaptioned} of {contents.count} images have no caption of their own; they get this one."
        return [
            Line("data.caption", trigger or "", reason + ("" if trigger else " Empty: a style needs no trigger word."))
        ]
    if trigger and not contents.shared_word:
        reason = (
            "The captions share no rare word, so this one goes before each to call up "
            "what is learnt. A made-up word is best."
        )
        return [Line("data.caption_prefix", f"{trigger}, ", reason)]
    return []


def _steps_line(preset: Preset, contents: FolderContents, batch: int) -> Line:
    """Line for the number of optimizer steps, with its arithmetic as the reason."""
    reason = (
        f"{contents.entries} images x {preset.views} views / batch {batch}, at least {preset.least} and at most "
        f"{preset.most}. Look at the samples: the best step is often not the last."
    )
    return Line("train.steps", preset.steps(contents.entries, batch), reason)


def _output_lines(contents: FolderContents, trigger: str | None, steps: int, lora: bool) -> list[Line]:
    """Lines for samples, the validation set and intermediate results."""
    every = max(1, steps // 5)
    prompts = _sample_prompts(contents, trigger)
    fields = [
        Line(
            "sample.prompts",
            prompts,
            "One picture per prompt, from the same noise every time; change them as you like.",
        ),
        Line("sample.every", every),
    ]
    if contents.held_out:
        fields += [
            Line("validation.images", contents.held_out, _validation_reason(contents)),
            Line("validation.every", every, "Enough measurements for a curve: where it rises, training was too long."),
        ]
    if lora:
        reason = "Intermediate results to compare: snrlab sample runs/NAME --step ..."
        fields.append(Line("output.every", every, reason))
    if trigger:
        fields.append(Line("output.trigger_phrase", trigger, "Written into the result and its model card."))
    return fields


def _validation_reason(contents: FolderContents) -> str:
    """Why images are held out, and what so few of them can show."""
    reason = (
        "Held out and never trained on: only such images show whether a run learned the subject or memorized pictures. "
        "snrlab compare RUN RUN uses them to show which of two runs was better."
    )
    few = " One image shows a curve only; two or more also show how sure a difference is."
    return reason + (few if contents.held_out == 1 else "")


def _sample_prompts(contents: FolderContents, trigger: str | None) -> list[str]:
    """Prompts for samples: two of the captions, and scenes or subjects that no image shows."""
    captions = contents.captions
    from_captions = (
        [" ".join(text.split()).lstrip("# ") for text in (captions[0], captions[len(captions) // 2])]
        if captions
        else []
    )
    if trigger and not contents.shared_word:
        from_captions = [f"{trigger}, {text}" for text in from_captions]
    new_prompts = [f"{trigger}, {scene}" for scene in SCENES] if trigger else list(SUBJECTS)
    return [re.sub(r"\s--(?=[A-Za-z])", " ", text) for text in dict.fromkeys([*from_captions, *new_prompts])]


def folder_word(folder: Path) -> str:
    """Trigger word guessed from a folder's name.

    >>> folder_word(Path("pictures/10_sks dog")), folder_word(Path("My pictures"))
    ('sks dog', 'my pictures')
    """
    name = re.sub(r"^\d+_", "", folder.name)
    return slug(name).replace("-", " ").replace("_", " ").lower()


def _value_of(lines: Sequence[Line], field: str, default: Any) -> Any:
    return next((line.value for line in lines if line.field == field), default)
