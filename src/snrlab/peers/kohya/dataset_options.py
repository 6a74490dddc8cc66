"""Images and captions as kohya's options, both ways: folders, subsets of a dataset TOML, options of captions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from snrlab.config.option_tables.kohya import DATASET_TOML, KOHYA_OPTIONS
from snrlab.config.run import RunConfig
from snrlab.config.run_file_text import Line
from snrlab.config.sections.captions import MOVES_TAGS
from snrlab.config.sections.data import BUCKET_OPTIONS, REQUIREMENTS, TAG_OPTIONS, DataConfig, ImageOptions
from snrlab.peers.conversion import Conversion, Dropped, shown
from snrlab.peers.kohya.network_options import is_sdxl_run
from snrlab.peers.value_rules import RULES, carry, read_size, write_size

IMAGES = "images"
OVERRIDDEN = "the dataset TOML overrides it"
BUCKETS = "kohya stops where it is no multiple of 64, of 32 for SDXL"
NEED_BUCKETS, MOVE_TAGS, NEED_TAGS = (
    tuple(DATASET_TOML[field].name for field in fields if field in DATASET_TOML)
    for fields in (BUCKET_OPTIONS, MOVES_TAGS, [field for field in TAG_OPTIONS if field not in MOVES_TAGS])
)
ONLY_STATED = ("caption_extension", "caption_extention", "vae_batch_size")  # kohya's defaults are of its own making
OF_RUN = ("vae_batch_size", "prior_loss_weight", "weighted_captions")  # not of a folder
OF_SUBSETS = ("num_repeats", "class_tokens")  # kohya does not read them in a training file
# what a dataset TOML may say of images: kohya takes from the training file what it leaves out
IMAGE_OPTIONS = tuple(
    name
    for name, option in KOHYA_OPTIONS.items()
    if option.field.startswith("data.")
    and option.rule in RULES
    and name not in (*OF_RUN, *OF_SUBSETS, "dataset_repeats")
)
# fields of the window for a training on metadata, where kohya does not read the names of folders
OF_FINE_TUNING = ("in_json", "caption_metadata_filename", "latent_metadata_filename")


def image_options(conversion: Conversion, prefix: str = "data.") -> None:
    """Set the options of images and captions, where they mean something together."""
    conversion.set(f"{prefix}resolution", *_resolution(conversion))
    buckets = bool(conversion.value("enable_bucket"))
    moves = any(conversion.value(name) for name in MOVE_TAGS)
    separated = moves or conversion.has("secondary_separator")
    for name in IMAGE_OPTIONS:
        if name == "resolution" or (name in ONLY_STATED and not conversion.has(name)):
            continue
        if name in NEED_BUCKETS and not buckets:
            conversion.drop(name, "enable_bucket is not on: every image is cropped to resolution", severity="harmless")
        elif name in NEED_TAGS and not (separated if name == "caption_separator" else moves):
            conversion.drop(name, "no tags are shuffled or dropped", severity="harmless")
        elif name == "alpha_mask" and not conversion.value(name):
            conversion.mark_used(name)
        else:
            carry(conversion, name, f"{prefix}{KOHYA_OPTIONS[name].field.removeprefix('data.')}")
    if conversion.has("conditioning_data_dir"):
        conversion.set(f"{prefix}masked_loss", True, "masked_loss", reason="The folder of masks is used.")


def _resolution(conversion: Conversion) -> tuple[Any, str]:
    return read_size(conversion.value("resolution"))[0], "resolution"


def data(
    conversion: Conversion, dataset: Mapping[str, Any] | None, path: Path | None, folder: Path | None = None
) -> None:
    """Set [data] from a dataset TOML that is kept, from its subsets, or from folders of the training file.

    Args:
        conversion: the training file's options.
        dataset: content of the dataset TOML; None where there is none.
        path: of that TOML where it is used as it is.
        folder: of that TOML; folders that are not below the current one are looked up in it.
    """
    conversion.mark_used("dataset_config")
    if dataset is not None and path is not None:
        why = "kohya's dataset TOML, used unchanged: it gives the folders, repeats, captions and buckets."
        names = ("dataset_config",) if conversion.has("dataset_config") else ()
        conversion.set("data.dataset_config", str(path), *names, reason=why)
        stated = [d.get("resolution") for d in dataset.get("datasets", [])] + [
            dataset.get("general", {}).get("resolution")
        ]
        if not any(stated):
            conversion.set("data.resolution", *_resolution(conversion))
        for name in (*IMAGE_OPTIONS, "dataset_repeats"):
            conversion.drop(name, OVERRIDDEN, severity="harmless")
    elif dataset is not None:
        sets(conversion, dataset, folder)
    else:
        folders(conversion)
    _batch(conversion, dataset)
    if not conversion.value("vae_batch_size") or conversion.value("vae_batch_size") == 1:
        conversion.mark_used("vae_batch_size")
    for name in OF_RUN:
        if name != "vae_batch_size" or (conversion.has(name) and conversion.value(name) > 1):
            carry(conversion, name)
    if conversion.value("cache_latents_to_disk"):
        conversion.set("data.cache", True, "cache_latents_to_disk", "cache_text_encoder_outputs_to_disk")


def _batch(conversion: Conversion, dataset: Mapping[str, Any] | None) -> None:
    """Set train.batch_size: the dataset TOML goes before the training file."""
    stated = [] if dataset is None else stated_batch_sizes(dataset)
    if not any(stated):
        carry(conversion, "train_batch_size")
        return
    sizes = [size or conversion.value("train_batch_size") for size in stated]
    if all(stated):
        conversion.drop("train_batch_size", f"{OVERRIDDEN}, by its batch_size", severity="harmless")
    conversion.mark_used("train_batch_size")
    conversion.set("train.batch_size", sizes[0], reason=f"batch_size = {sizes[0]} in the dataset TOML.")
    if len(set(sizes)) > 1:
        conversion.dropped.append(
            Dropped(f"batch_size = {shown(sizes)}", "a run has one batch size here, so the first is used")
        )


def stated_batch_sizes(dataset: Mapping[str, Any]) -> list[Any]:
    """The batch size that a dataset TOML gives each dataset; None where the training file gives it."""
    general = dataset.get("general", {})
    return [group.get("batch_size") or general.get("batch_size") for group in dataset.get("datasets", [])]


def folders(conversion: Conversion) -> None:
    """Set the folders that the training file names, and its options of images."""
    # below train_data_dir kohya reads repeats in the folders' names, but not where a metadata file lists the images
    by_metadata = conversion.has("train_data_dir") and any(conversion.has(name) for name in OF_FINE_TUNING)
    prefix = "data.sets[0]." if by_metadata else "data."
    conversion.drop("in_json")
    if conversion.has("train_data_dir"):
        conversion.set(f"{prefix}folder", str(conversion.value("train_data_dir")), "train_data_dir")
    else:
        reason = "The settings do not name the folder of images: name it here."
        conversion.set("data.folder", IMAGES, reason=reason)
    if by_metadata:
        _repeats(conversion, prefix, "dataset_repeats")
        conversion.drop("reg_data_dir", "kohya does not read it beside a metadata file", severity="harmless")
    elif conversion.has("train_data_dir"):
        conversion.drop("dataset_repeats", "kohya reads the repeats in the folders' names", severity="harmless")
    elif conversion.value("dataset_repeats") != 1:
        carry(conversion, "dataset_repeats")
    if conversion.has("reg_data_dir") and not by_metadata:
        conversion.set("data.regularisation", str(conversion.value("reg_data_dir")), "reg_data_dir")
    else:
        _leave_prior_loss(conversion)
    image_options(conversion, prefix)


def _repeats(conversion: Conversion, prefix: str, name: str, origin: str = "") -> None:
    """Set the repeats of a set, 1 too: what a set gives counts instead of the number in its folder's name."""
    stated = conversion.has(name)
    origin = origin or (conversion.format_option(name) if stated else f"kohya's default of {name}")
    line = Line(f"{prefix}repeats", conversion.value(name), origin=origin, options=(name,) if stated else ())
    conversion.lines.append(line)
    conversion.mark_used(name)


def _leave_prior_loss(conversion: Conversion) -> None:
    conversion.drop("prior_loss_weight", "there are no regularisation images", severity="harmless")
    conversion.options.pop("prior_loss_weight", None)


def sets(conversion: Conversion, dataset: Mapping[str, Any], folder: Path | None = None) -> None:
    """Set [[data.sets]]: the subsets, each with the options of the levels above it and of the training file."""
    of_training_file = {name: conversion.options[name] for name in IMAGE_OPTIONS if conversion.has(name)}
    if conversion.has("dataset_repeats"):
        of_training_file["num_repeats"] = conversion.value("dataset_repeats")
    position = number = 0
    for group in dataset.get("datasets", []):
        above = {**of_training_file, **dataset.get("general", {}), **group}
        above.pop("subsets", None)
        seen: list[Any] = []
        for subset in group.get("subsets", []):
            position += 1
            inner = Conversion({**above, **subset}, KOHYA_OPTIONS, "kohya")
            place = (subset.get("image_dir"), subset.get("metadata_file"))
            if reason := _left_out(inner, place in seen):
                option = f"subset {position}: {inner.format_option('image_dir') if inner.has('image_dir') else ''}"
                conversion.dropped.append(Dropped(option, reason, "harmless"))
                continue
            seen.append(place)
            inner.mark_used("batch_size")
            _set(inner, folder)
            conversion.lines += [
                replace(line, field=line.field.replace("data.", f"data.sets[{number}].", 1)) for line in inner.lines
            ]
            number += 1
            conversion.dropped += [
                replace(left, option=f"subset {position}: {left.option}")
                for left in inner.dropped
                if left.severity != "default"
            ]
    if not number:
        conversion.set("data.folder", IMAGES, reason="The dataset TOML names no images: name their folder here.")
    conversion.mark_used(*IMAGE_OPTIONS, "dataset_repeats")
    _regularisation_of_sets(conversion, dataset)


def _left_out(inner: Conversion, named_before: bool) -> str:
    """Why kohya leaves a subset out; empty where it does not."""
    if inner.value("num_repeats") < 1:
        return f"kohya leaves it out, since num_repeats is {inner.value('num_repeats')}"
    return "kohya leaves it out, since its dataset has named it before" if named_before else ""


def _regularisation_of_sets(conversion: Conversion, dataset: Mapping[str, Any]) -> None:
    groups = dataset.get("datasets", [])
    regular = [any(subset.get("is_reg") for subset in group.get("subsets", [])) for group in groups]
    if not any(regular):
        _leave_prior_loss(conversion)
    elif len(groups) > 1:
        reason = "kohya repeats them to the number of images in their own dataset, snrlab to that of all the others"
        conversion.dropped.append(Dropped("is_reg = true beside several datasets", reason))


def _set(inner: Conversion, folder: Path | None) -> None:
    for name in ("image_dir", "conditioning_data_dir"):
        if inner.has(name):
            inner.options[name] = _path_in(str(inner.value(name)), folder)
    images = inner.value("image_dir")
    inner.drop("metadata_file")
    inner.set("data.folder", str(images or IMAGES), *(["image_dir"] if images else []),
              reason="" if images else "The subset names no folder: name it here.")  # fmt: skip
    if inner.value("is_reg"):
        inner.lines.append(
            replace(
                inner.lines[-1], field="data.regularisation", value=True, origin="is_reg = true", options=("is_reg",)
            )
        )
    inner.mark_used("is_reg")
    _repeats(inner, "data.", "num_repeats")
    carry(inner, "class_tokens")
    image_options(inner)
    inner.drop_unused("refuses it")


def _path_in(text: str, folder: Path | None) -> str:
    """A path of a dataset TOML: from the current folder, as kohya reads it, or from the TOML's own."""
    if folder is None or Path(text).exists() or not (folder / text).exists():
        return text
    return str(folder / text)


# fields of [data] that kohya has under other names, by field
BACK = {
    KOHYA_OPTIONS[name].field.removeprefix("data."): name
    for name in (*IMAGE_OPTIONS, *OF_SUBSETS)
    if name not in ("caption_extention", "masked_loss")
}


def data_back(config: RunConfig) -> tuple[dict[str, Any], dict[str, Any] | None, list[Dropped]]:
    """(kohya's options for [data], its dataset TOML, what has no place in either)."""
    data, left = config.data, _without_counterpart(config.data)
    every = [image_set.options(data) for image_set in data.sets] or [data]
    cached = not any(options.random_crop for options in every)  # kohya stops where crops are cached
    if data.cache and not cached:
        left.append(Dropped("data.cache = true", "kohya stops where random crops are cached"))
    if not config.data.dataset_config:
        left += [Dropped(f"data.bucket_step = {step}", BUCKETS) for step in _odd_steps(config, every)]
    options: dict[str, Any] = {
        "train_batch_size": config.train.batch_size,
        "cache_latents": True if cached else None,
        "cache_latents_to_disk": (data.cache and cached) or None,
        "vae_batch_size": data.vae_batch_size,
        "weighted_captions": data.weighted_captions or None,
        "prior_loss_weight": data.prior_loss_weight if data.prior_loss_weight != 1 else None,
        "resolution": write_size(data.resolution),
    }
    if data.dataset_config is not None:
        return {**options, "dataset_config": data.dataset_config}, None, left
    if data.shipped is not None or (data.folder is None and not data.sets):
        left.append(Dropped(f"data.shipped = {shown(data.shipped)}", "images that ship with snrlab; name a folder"))
        return options, None, left
    subsets = []
    for image_set in data.sets:
        subset = _subset(image_set.folder, image_set.options(data), left)
        if image_set.regularisation:
            subset["is_reg"] = True
        for name in ("ratio", "importance"):
            if (value := getattr(image_set, name)) is not None:
                left.append(Dropped(f"data.sets: {name} = {value:g}", "kohya weighs sets by num_repeats alone"))
        subsets.append(subset)
    if data.folder is not None:
        subsets.append(_subset(data.folder, data, left))
    if data.regularisation is not None:
        subsets.append({"image_dir": data.regularisation, "is_reg": True})
    return options, {"datasets": _grouped(subsets, config)}, left


def _odd_steps(config: RunConfig, every: Sequence[ImageOptions]) -> list[int]:
    """Steps between bucket sizes that kohya refuses."""
    least = 32 if is_sdxl_run(config) else 64
    return sorted({options.bucket_step for options in every if options.buckets and options.bucket_step % least})


def _without_counterpart(data: DataConfig) -> list[Dropped]:
    left = []
    for name in ("limit", "cache_folder", "kohya_cache"):
        value = getattr(data, name)
        if value:
            left.append(Dropped(f"data.{name} = {shown(value)}", "kohya has nothing like it"))
    return left


def _subset(folder: str, options: ImageOptions, left: list[Dropped]) -> dict[str, Any]:
    """A subset of a dataset TOML with the options that differ from kohya's defaults."""
    subset: dict[str, Any] = {"image_dir": folder, "num_repeats": options.repeats}
    for field, name in BACK.items():
        value = getattr(options, field)
        if field in ("resolution", "repeats") or value is None or not _is_read(field, options):
            continue
        value = RULES[KOHYA_OPTIONS[name].rule].to_kohya(value)
        if not KOHYA_OPTIONS[name].is_default(value):
            subset[name] = value
    if options.buckets:
        sides = [options.resolution] * 2 if isinstance(options.resolution, int) else options.resolution
        subset |= {"min_bucket_reso": options.bucket_min or max(64, min(sides) // 2 // 64 * 64),
                  "max_bucket_reso": options.bucket_max or 2 * max(sides)}  # fmt: skip
    if options.masked_loss and options.masks is None:
        left.append(
            Dropped("data.masked_loss = true", "kohya looks for masks in a folder of their own; state data.masks")
        )
    for field in sorted(ImageOptions.model_fields.keys() - BACK.keys() - {"masked_loss"}):
        if (value := getattr(options, field)) != ImageOptions.model_fields[field].default:
            left.append(Dropped(f"data.{field} = {shown(value)}", "kohya has nothing like it"))
    subset["resolution"] = options.resolution
    return subset


def _is_read(field: str, options: ImageOptions) -> bool:
    """Whether an option means something beside the others of its set."""
    return field not in REQUIREMENTS or REQUIREMENTS[field].is_met(options)


def _grouped(subsets: Sequence[Mapping[str, Any]], config: RunConfig) -> list[dict[str, Any]]:
    """Datasets of the subsets that share resolution and bucket options."""
    level = ("resolution", "enable_bucket", *NEED_BUCKETS)
    groups: list[dict[str, Any]] = []
    for subset in subsets:
        above = {name: subset[name] for name in level if name in subset} or {
            name: groups[0][name] for name in level if groups and name in groups[0]
        }
        options = {name: value for name, value in subset.items() if name not in level}
        match = next((g for g in groups if all(g.get(n) == above.get(n) for n in level)), None)
        if match is None:
            match = {"batch_size": config.train.batch_size, **above, "subsets": []}
            groups.append(match)
        match["subsets"].append(options)
    return groups
