"""Import of OneTrainer's concepts (folders of images) and samples (prompts)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from snrlab.config.run_file_text import Line
from snrlab.core.errors import UserError
from snrlab.core.registries.samplers import DEFAULT_SAMPLER, SAMPLERS
from snrlab.files.text import read_json_list
from snrlab.peers.conversion import Conversion, Dropped, readable, shown
from snrlab.peers.kohya.dataset_options import IMAGES
from snrlab.peers.onetrainer.versions import concept_as_today
from snrlab.peers.value_rules import read_size

# fields of a concept that have no counterpart: (part, field) -> value that has no effect
_NEUTRAL: Mapping[tuple[str, str], Any] = {
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


def import_images(conversion: Conversion, folder: Path) -> None:
    """Import [data]: a set of images for each concept."""
    sizes = read_sizes(conversion.value("resolution"))
    conversion.set("data.resolution", sizes[0], "resolution")
    if len(sizes) > 1:
        conversion.dropped.append(
            Dropped(conversion.format_option("resolution"), "one size is trained; sets of images may have their own")
        )
    listed = read_list(conversion, "concepts", "concept_file_name", folder) or []
    concepts = [concept_as_today(concept) for concept in listed if concept.get("enabled", True)]
    concepts = [c for c in concepts if c.get("type", "STANDARD") != "VALIDATION"]
    if not concepts:
        reason = "The configuration does not say where the images are (its concepts do): name their folder here."
        conversion.set("data.folder", IMAGES, reason=reason)
    for number, concept in enumerate(concepts):
        _import_concept(conversion, concept, f"data.sets[{number}]")


def _import_concept(conversion: Conversion, concept: Mapping[str, Any], place: str) -> None:
    """Import one concept as a set of images."""
    text, image = _part(concept, "text"), _part(concept, "image")
    name = str(concept.get("name") or concept.get("path") or place)

    def set_field(field: str, value: Any, origin: str) -> None:
        if value is not None:
            conversion.lines.append(Line(f"{place}.{field}", value, origin=origin))

    set_field("folder", str(concept.get("path") or IMAGES), "path of the concept")
    balance = _number(concept, "balancing", 1.0)
    if concept.get("balancing_strategy", "REPEATS") == "REPEATS" and balance >= 1:
        # 1 too: OneTrainer does not read the number in a folder's name, which a set without repeats would take
        origin = f"balancing = {balance:g}" if "balancing" in concept else "OneTrainer's default of balancing"
        set_field("repeats", round(balance), origin)
        if balance != round(balance):
            _drop(conversion, name, "balancing", balance, f"repeats is a whole number here, so {round(balance)}")
    else:
        set_field("repeats", 1, f"{shown(balance)} is no number of repeats: see the end")
        reason = "OneTrainer picks a share of the images anew each epoch; here give repeats, or a ratio to each set"
        _drop(conversion, name, "balancing", balance, reason)
    loss = _number(concept, "loss_weight", 1.0)
    set_field("importance", float(loss) if loss != 1 else None, f"loss_weight = {loss:g}")
    set_field("flip", True if image.get("enable_random_flip") else None, "image.enable_random_flip = true")
    origin = "image.enable_crop_jitter = true" if "enable_crop_jitter" in image else "OneTrainer's default of image"
    set_field("random_crop", True if image.get("enable_crop_jitter", True) else None, origin)
    if concept.get("type") == "PRIOR_PREDICTION":
        set_field("regularisation", True, "type = PRIOR_PREDICTION")
    shuffles_tags = bool(text.get("enable_tag_shuffling"))
    set_field("shuffle_tags", True if shuffles_tags else None, "text.enable_tag_shuffling = true")
    drop = _number(text, "tag_dropout_probability", 0.0) if text.get("tag_dropout_enable") else 0.0
    if drop and (mode := text.get("tag_dropout_mode", "FULL")) != "RANDOM":
        _drop(
            conversion,
            name,
            "text.tag_dropout_mode",
            mode,
            "tags are dropped one by one here, each with the same probability",
        )
        drop = 0.0
    set_field("tag_dropout", drop or None, "text.tag_dropout_probability")
    if shuffles_tags or drop:
        set_field("keep_tokens", int(_number(text, "keep_tags_count", 1)), "text.keep_tags_count")
        set_field("caption_separator", text.get("tag_delimiter") or None, "text.tag_delimiter")
    if text.get("prompt_source", "sample") != "sample":
        reason = PROMPTS.get(str(text["prompt_source"]), "captions are beside the images here")
        _drop(conversion, name, "text.prompt_source", text["prompt_source"], reason)
    for (part, field), neutral in _NEUTRAL.items():
        value = (text if part == "text" else image).get(field, neutral)
        if value != neutral:
            _drop(conversion, name, f"{part}.{field}", value, "nothing like it is done here")


def _number(table: Mapping[str, Any], name: str, default: float) -> float:
    parsed = readable(f"{name} of a concept", "float", table.get(name))
    return default if parsed in (None, "", []) else float(parsed)


def _part(concept: Mapping[str, Any], name: str) -> dict[str, Any]:
    table = concept.get(name)
    return table if isinstance(table, dict) else {}


def _drop(conversion: Conversion, concept: str, field: str, value: Any, reason: str) -> None:
    conversion.dropped.append(Dropped(f"concept {concept}: {field} = {shown(value)}", reason))


def import_onetrainer_prompts(conversion: Conversion, folder: Path) -> None:
    """Import sample.prompts, each with the size, seed, guidance, steps and sampler of its sample."""
    samples = read_list(conversion, "samples", "sample_definition_file_name", folder) or []
    lines = []
    for sample in samples:
        if not sample.get("enabled", True) or not str(sample.get("prompt", "")).strip():
            continue
        flags = [("w", sample.get("width")), ("h", sample.get("height")), ("d", sample.get("seed")),
                 ("l", sample.get("cfg_scale")), ("s", sample.get("diffusion_steps")),
                 ("ss", _sampler(conversion, sample))]  # fmt: skip
        negative = f" --n {sample['negative_prompt']}" if sample.get("negative_prompt") else ""
        flag_text = "".join(f" --{flag} {value}" for flag, value in flags if value is not None)
        lines.append(" ".join(str(sample["prompt"]).split()) + negative + flag_text)
    if lines:
        name = "samples" if conversion.has("samples") else "sample_definition_file_name"
        conversion.set("sample.prompts", lines, name)


def _sampler(conversion: Conversion, sample: Mapping[str, Any]) -> str | None:
    """The sampler of a sample; None for the default, and for one without a counterpart, which is recorded."""
    theirs = sample.get("noise_scheduler") or SAMPLERS[DEFAULT_SAMPLER].onetrainer
    ours = next((sampler.name for sampler in SAMPLERS.values() if sampler.onetrainer == theirs), None)
    if ours is None:
        option = f"a sample's noise_scheduler = {shown(theirs)}"
        conversion.dropped.append(Dropped(option, "there is no such sampler here"))
    return None if ours == DEFAULT_SAMPLER else ours


def read_list(conversion: Conversion, name: str, file_name: str, folder: Path) -> list[dict[str, Any]] | None:
    """Read a list that stands in the configuration or in a file that it names; None where there is none."""
    if isinstance(conversion.options.get(name), list):
        conversion.mark_used(name)
        return [item for item in conversion.options[name] if isinstance(item, dict)]
    if not conversion.has(file_name):
        return None
    location = str(conversion.options[file_name])
    path = next((p for p in (Path(location), folder / location, folder.parent / location) if p.is_file()), None)
    if path is None:
        conversion.drop(file_name, "there is no such file beside the configuration", code="missing-file")
        return None
    conversion.mark_used(file_name)
    try:
        return [item for item in read_json_list(path) if isinstance(item, dict)]
    except UserError as error:
        conversion.dropped.append(
            Dropped(f"{file_name} = {shown(location)}", str(error), code="missing-file", names=(file_name,))
        )
        return None


def read_sizes(text: Any) -> list[Any]:
    """Parse the resolutions of a configuration: one or several, `512` or `512x768`.

    >>> read_sizes("512"), read_sizes("512x768,1024")
    ([512], [[512, 768], 1024])
    """
    return [read_size(part)[0] for part in str(text).split(",")]
