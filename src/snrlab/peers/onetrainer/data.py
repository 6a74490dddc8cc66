"""OneTrainer's concepts and samples: folders of images, and prompts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from snrlab.config.run_file_text import Line
from snrlab.core.errors import UserError
from snrlab.files.text import read_json_list
from snrlab.peers.conversion import Conversion, Dropped, readable, shown
from snrlab.peers.kohya.data import IMAGES
from snrlab.peers.onetrainer.versions import concept_as_today
from snrlab.peers.value_rules import read_size

# of a concept: (part, field) -> (ours, what does nothing)
_IDLE: Mapping[tuple[str, str], Any] = {
    ("image", "enable_fixed_flip"): False, ("image", "enable_random_rotate"): False,
    ("image", "enable_fixed_rotate"): False, ("image", "enable_random_brightness"): False,
    ("image", "enable_random_contrast"): False, ("image", "enable_random_saturation"): False,
    ("image", "enable_random_hue"): False, ("image", "enable_resolution_override"): False,
    ("image", "enable_random_circular_mask_shrink"): False, ("image", "enable_random_mask_rotate_crop"): False,
    ("text", "tag_dropout_special_tags"): "", ("text", "caps_randomize_enable"): False,
}  # fmt: skip


PROMPTS = {
    "concept": "OneTrainer draws the captions from one file, prompt_path; put them beside the images, or one into "
    "data.sets.caption",
    "filename": "OneTrainer takes the names of the images for captions; put captions beside them",
}


def import_images(transfer: Conversion, folder: Path) -> None:
    """[data]: a folder, or a set for each concept."""
    found = read_sizes(transfer.value("resolution"))
    transfer.put("data.resolution", found[0], "resolution")
    if len(found) > 1:
        transfer.left.append(
            Dropped(transfer.shown("resolution"), "one size is trained; sets of images may have their own")
        )
    listed = read_list(transfer, "concepts", "concept_file_name", folder) or []
    concepts = [concept_as_today(concept) for concept in listed if concept.get("enabled", True)]
    concepts = [c for c in concepts if c.get("type", "STANDARD") != "VALIDATION"]
    if not concepts:
        why = "The configuration does not say where the images are (its concepts do): name their folder here."
        transfer.put("data.folder", IMAGES, why=why)
    for number, concept in enumerate(concepts):
        _concept(transfer, concept, f"data.sets[{number}]")


def _concept(transfer: Conversion, concept: Mapping[str, Any], place: str) -> None:
    """One concept as a set of images."""
    text, image = _part(concept, "text"), _part(concept, "image")
    name = str(concept.get("name") or concept.get("path") or place)

    def put(field: str, value: Any, said: str) -> None:
        if value is not None:
            transfer.lines.append(Line(f"{place}.{field}", value, said=said))

    put("folder", str(concept.get("path") or IMAGES), "path of the concept")
    balance = _number(concept, "balancing", 1.0)
    if concept.get("balancing_strategy", "REPEATS") == "REPEATS" and balance >= 1:
        put("repeats", round(balance) if balance != 1 else None, f"balancing = {balance:g}")
    else:
        why = "OneTrainer takes a share of the images anew each epoch; here repeats is a whole number of times, or a "
        _leave(transfer, name, "balancing", balance, f"{why}ratio for each set says how often it is drawn")
    loss = _number(concept, "loss_weight", 1.0)
    put("importance", float(loss) if loss != 1 else None, f"loss_weight = {loss:g}")
    put("flip", True if image.get("enable_random_flip") else None, "image.enable_random_flip = true")
    stated = "image.enable_crop_jitter = true" if "enable_crop_jitter" in image else "OneTrainer's default of image"
    put("random_crop", True if image.get("enable_crop_jitter", True) else None, stated)
    if concept.get("type") == "PRIOR_PREDICTION":
        put("regularisation", True, "type = PRIOR_PREDICTION")
    tags = bool(text.get("enable_tag_shuffling"))
    put("shuffle_tags", True if tags else None, "text.enable_tag_shuffling = true")
    drop = _number(text, "tag_dropout_probability", 0.0) if text.get("tag_dropout_enable") else 0.0
    if drop and (mode := text.get("tag_dropout_mode", "FULL")) != "RANDOM":
        _leave(transfer, name, "text.tag_dropout_mode", mode, "tags are dropped one by one here, each as likely")
        drop = 0.0
    put("tag_dropout", drop or None, "text.tag_dropout_probability")
    if tags or drop:
        put("keep_tokens", int(_number(text, "keep_tags_count", 1)), "text.keep_tags_count")
        put("caption_separator", text.get("tag_delimiter") or None, "text.tag_delimiter")
    if text.get("prompt_source", "sample") != "sample":
        why = PROMPTS.get(str(text["prompt_source"]), "captions are beside the images here")
        _leave(transfer, name, "text.prompt_source", text["prompt_source"], why)
    for (part, field), neutral in _IDLE.items():
        value = (text if part == "text" else image).get(field, neutral)
        if value != neutral:
            _leave(transfer, name, f"{part}.{field}", value, "nothing like it is done here")


def _number(table: Mapping[str, Any], name: str, usual: float) -> float:
    found = readable(f"{name} of a concept", "float", table.get(name))
    return usual if found in (None, "", []) else float(found)


def _part(concept: Mapping[str, Any], name: str) -> dict[str, Any]:
    found = concept.get(name)
    return found if isinstance(found, dict) else {}


def _leave(transfer: Conversion, concept: str, field: str, value: Any, why: str) -> None:
    transfer.left.append(Dropped(f"concept {concept}: {field} = {shown(value)}", why))


def import_onetrainer_prompts(transfer: Conversion, folder: Path) -> None:
    """sample.prompts, each with what its sample says of the picture."""
    samples = read_list(transfer, "samples", "sample_definition_file_name", folder) or []
    lines = []
    for sample in samples:
        if not sample.get("enabled", True) or not str(sample.get("prompt", "")).strip():
            continue
        flags = [("w", sample.get("width")), ("h", sample.get("height")), ("d", sample.get("seed")),
                 ("l", sample.get("cfg_scale")), ("s", sample.get("diffusion_steps"))]  # fmt: skip
        negative = f" --n {sample['negative_prompt']}" if sample.get("negative_prompt") else ""
        rest = "".join(f" --{flag} {value}" for flag, value in flags if value is not None)
        lines.append(" ".join(str(sample["prompt"]).split()) + negative + rest)
    if lines:
        name = "samples" if transfer.has("samples") else "sample_definition_file_name"
        transfer.put("sample.prompts", lines, name)


def read_list(transfer: Conversion, name: str, file_name: str, folder: Path) -> list[dict[str, Any]] | None:
    """A list that stands in the configuration or in a file that it names; None where there is none."""
    if isinstance(transfer.stated.get(name), list):
        transfer.take(name)
        return [item for item in transfer.stated[name] if isinstance(item, dict)]
    if not transfer.has(file_name):
        return None
    stated = str(transfer.stated[file_name])
    path = next((p for p in (Path(stated), folder / stated, folder.parent / stated) if p.is_file()), None)
    if path is None:
        transfer.leave(file_name, "there is no such file beside the configuration", code="missing-file")
        return None
    transfer.take(file_name)
    try:
        return [item for item in read_json_list(path) if isinstance(item, dict)]
    except UserError as reason:
        transfer.left.append(
            Dropped(f"{file_name} = {shown(stated)}", str(reason), code="missing-file", names=(file_name,))
        )
        return None


def read_sizes(text: Any) -> list[Any]:
    """The resolutions of a configuration: one or several, `512` or `512x768`.

    >>> read_sizes("512"), read_sizes("512x768,1024")
    ([512], [[512, 768], 1024])
    """
    return [read_size(part)[0] for part in str(text).split(",")]
