"""From a folder of images, a model and a preset to the text of a run file."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from snrlab.config.load import parse_run
from snrlab.config.presets import PRESET_NAMES, Preset, load_preset
from snrlab.config.run_file_text import Line, run_text
from snrlab.config.sections.data import DataConfig
from snrlab.data.dataset import DataDiscovery, find
from snrlab.init.trigger_word import are_tags, guess_trigger
from snrlab.model_files.identify import BaseModel, identify

HELD_BACK_FROM, HELD_BACK_PART, HELD_BACK_MOST = 40, 10, 16
SCENES = ("on a beach", "in a city street at night", "made of glass")
SUBJECTS = ("a lighthouse on a cliff", "a cat on a chair", "a portrait of a woman")


@dataclass(frozen=True)
class RunFileDraft:
    """A run file's text, and in a few lines what it was made from."""

    text: str
    found: tuple[str, ...]


@dataclass(frozen=True)
class FolderContents:
    """What a folder holds.

    Attributes:
        count: images; seen: the same with their repeats.
        captions: their texts; bare: images without one.
        shared: the word or tag that nearly all captions share, and that is no plain word.
    """

    folder: Path
    count: int
    seen: int
    captions: tuple[str, ...]
    bare: int
    shared: str | None
    summaries: tuple[str, ...]


def draft_run_file(images: Path, model: str, preset_name: str, name: str = "") -> RunFileDraft:
    """The run file for these images, this model and this preset.

    Raises:
        UserError: no such folder, model or preset, or images that cannot be trained on.
    """
    preset, base, pictures = load_preset(preset_name), identify(model), look_at_images(images)
    word = pictures.shared or (folder_word(pictures.folder) if preset.trigger else None)
    fields = [*_own(pictures, base, name), *_preset(preset, pictures, base, word)]
    steps, batch = _value(fields, "train.steps", 0), _value(fields, "train.batch_size", 1)
    seen = f"each of {pictures.count} images seen about {steps * batch / pictures.count:.0f} times"
    size = preset.memory.get(base.kind)
    memory = f"fits a graphics card with {size} GB" if size else "runs on any machine"
    head = [
        f"{preset_name} for {PRESET_NAMES[base.kind]}. {preset.summary}",
        f"{memory[0].upper()}{memory[1:]}; {steps} steps of {batch}: {seen}.",
        "",
        "Written by snrlab init. A field that is not here has its default: docs/run-file.md.",
    ]
    text = run_text(fields, head)
    parse_run(tomllib.loads(text), source="the new run file")
    found = [*pictures.summaries, base.about, f"{preset_name}: {memory}; {steps} steps of {batch}: {seen}"]
    if word:
        source = "in the captions" if pictures.shared else "from the folder's name; change it to a word of your own"
        found.append(f"trigger word: {word} ({source})")
    return RunFileDraft(text, tuple(found))


def look_at_images(folder: Path) -> FolderContents:
    """What is in a folder of images (UserError where it cannot be trained on)."""
    found = find(DataConfig(folder=str(folder.absolute()), caption=""))
    found.refuse_problems()
    items = [item for group in found.all_groups for item in group.items]
    captions = tuple(item.captions[0] for item in items if item.captions[0])
    return FolderContents(
        folder=folder.absolute(),
        count=len(items),
        seen=sum(item.repeats for item in items),
        captions=captions,
        bare=len(items) - len(captions),
        shared=guess_trigger(captions),
        summaries=_summaries(found),
    )


def _summaries(found: DataDiscovery) -> tuple[str, ...]:
    groups = found.all_groups
    return tuple(line for group in groups for line in (*group.summaries, *(f"  {note}" for note in group.notes)))


def _own(pictures: FolderContents, base: BaseModel, name: str) -> list[Line]:
    """Fields that say which images, which model, and how the run is called."""
    fields = [
        Line("name", name or slug(pictures.folder.name), "The run goes into runs/NAME, the result has this name."),
        Line("seed", 0, "Every random number follows from it."),
        Line("model.shipped", base.shipped) if base.shipped else Line("model.path", str(base.path)),
        Line("data.folder", str(pictures.folder)),
    ]
    if base.prediction_type is None:
        why = (
            "The file does not say it. SD 2 for 768 pixels, which most are, predicts v, that for 512 epsilon; "
            "snrlab train RUN --check looks at the weights and says if this is wrong."
        )
        fields.append(Line("recipe.prediction_type", "v_prediction", why))
    return fields


def slug(text: str) -> str:
    """A text as a name of a run.

    >>> slug("My pictures é"), slug("10_sks dog"), slug("写真")
    ('My-pictures', '10_sks-dog', 'run')
    """
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-._")[:60] or "run"


def _preset(preset: Preset, pictures: FolderContents, base: BaseModel, word: str | None) -> list[Line]:
    """The preset's fields, fitted to the images."""
    tags = are_tags(pictures.captions)
    fields = [
        _fitted(Line(field.name, field.values[base.kind], field.why), pictures, base)
        for field in preset.fields
        if base.kind in field.values and (tags or not field.tags_only)
    ]
    steps = _steps(preset, pictures, _value(fields, "train.batch_size", 1))
    lora = _value(fields, "train.method", "lora") == "lora"
    return [*fields, *_captions(pictures, word), steps, *_watching(pictures, word, steps.value, lora)]


def _fitted(field: Line, pictures: FolderContents, base: BaseModel) -> Line:
    """A field as these images and this model need it."""
    if field.name == "train.batch_size" and field.value > pictures.seen:
        return Line(field.name, pictures.seen, "No more than there are images.")
    if field.name == "data.resolution" and base.kind == "sd2" and base.prediction_type == "epsilon":
        return Line(field.name, 512, "SD 2 models that predict epsilon were made for 512.")
    return field


def _captions(pictures: FolderContents, word: str | None) -> list[Line]:
    """What images without a caption get, and the word where no caption has it."""
    if pictures.bare:
        why = f"{pictures.bare} of {pictures.count} images have no caption of their own; they get this one."
        return [Line("data.caption", word or "", f"{why} {'' if word else 'Empty: a style belongs to no word.'}")]
    if word and not pictures.shared:
        why = (
            "No word is in all captions: this one, before each, calls what is learnt. Best one that means nothing yet."
        )
        return [Line("data.caption_prefix", f"{word}, ", why)]
    return []


def _steps(preset: Preset, pictures: FolderContents, batch: int) -> Line:
    why = (
        f"{pictures.seen} images x {preset.views} views / batch {batch}, at least {preset.least} and at most "
        f"{preset.most}. Look at the pictures on the way: the best step is often not the last."
    )
    return Line("train.steps", preset.steps(pictures.seen, batch), why)


def _watching(pictures: FolderContents, word: str | None, steps: int, lora: bool) -> list[Line]:
    """Pictures, measurements and results on the way."""
    every = max(1, steps // 5)
    prompts = _prompts(pictures, word)
    fields = [
        Line("sample.prompts", prompts, "One picture each, from the same noise every time; change them."),
        Line("sample.every", every),
    ]
    if pictures.count >= HELD_BACK_FROM:
        held = min(pictures.count // HELD_BACK_PART, HELD_BACK_MOST)
        why = "Held back from training, to measure on: the report says by noise level what was really learnt."
        fields += [Line("validation.images", held, why), Line("validation.every", every)]
    if lora:
        why = "Results on the way, which can be compared: snrlab sample runs/NAME --step ..."
        fields.append(Line("output.every", every, why))
    if word:
        fields.append(Line("output.trigger_phrase", word, "Said in the file and in the model card."))
    return fields


def _prompts(pictures: FolderContents, word: str | None) -> list[str]:
    """Two captions of the pictures, and things that are not among them."""
    captions = pictures.captions
    own = (
        [" ".join(text.split()).lstrip("# ") for text in (captions[0], captions[len(captions) // 2])]
        if captions
        else []
    )
    if word and not pictures.shared:
        own = [f"{word}, {text}" for text in own]
    others = [f"{word}, {scene}" for scene in SCENES] if word else list(SUBJECTS)
    return [re.sub(r"\s--(?=[A-Za-z])", " ", text) for text in dict.fromkeys([*own, *others])]


def folder_word(folder: Path) -> str:
    """A word from a folder's name.

    >>> folder_word(Path("pictures/10_sks dog")), folder_word(Path("My pictures"))
    ('sks dog', 'my pictures')
    """
    name = re.sub(r"^\d+_", "", folder.name)
    return slug(name).replace("-", " ").replace("_", " ").lower()


def _value(fields: Sequence[Line], name: str, default: Any) -> Any:
    return next((field.value for field in fields if field.name == name), default)
