"""A kohya dataset TOML, used as it is: [general], [[datasets]], [[datasets.subsets]], where the nearer level wins.

What it does not state has kohya's default here, except that the suffix of captions is found by looking. Keys that this
trainer has no counterpart for are accepted only with the value that does nothing.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from snrlab.config.load import schema_error_text, validation_error_code
from snrlab.config.sections.data import DataConfig, ImageOptions
from snrlab.core.errors import UserError
from snrlab.core.regular_file import check_regular_file
from snrlab.data.image_folder import missing
from snrlab.data.image_source import Source
from snrlab.data.kohya.dataset_schema import DATASET_ONLY, IDLE, OURS, Dataset, DatasetFile, Subset
from snrlab.files.text import LARGEST_TEXT

BUCKET_NAMES = {"bucket_min": "min_bucket_reso", "bucket_max": "max_bucket_reso", "bucket_step": "bucket_reso_steps"}


@dataclass(frozen=True)
class KohyaDatasets:
    """The sources of each dataset of a TOML.

    Attributes:
        datasets: sources by dataset; regularisation is balanced within one.
        batch_sizes: those that it states.
        notes: what the user may want to know.
    """

    datasets: tuple[tuple[Source, ...], ...]
    batch_sizes: frozenset[int]
    notes: tuple[str, ...]


def read_datasets(file: Path, config: DataConfig) -> KohyaDatasets:
    """What a dataset TOML (or JSON) describes; `config` says the resolution where it does not.

    Raises:
        UserError: it cannot be read, has an unknown key, or asks for something that would be ignored.
    """
    parsed = _validated(file, _parsed(file))
    datasets: list[tuple[Source, ...]] = []
    notes: list[str] = []
    for d, dataset in enumerate(parsed.datasets):
        where = f"{file.name}, datasets[{d}]"
        _check_kinds(where, dataset)
        found = []
        for s, subset in enumerate(dataset.subsets):
            levels = (subset, dataset, parsed.general)
            found.append(_source(f"{where}.subsets[{s}]", levels, file, config, notes.append))
        _check_twice(where, found)
        datasets.append(tuple(found))
    sizes = (d.batch_size or parsed.general.batch_size for d in parsed.datasets)
    return KohyaDatasets(tuple(datasets), frozenset(size for size in sizes if size), tuple(notes))


def refusal(file: Path) -> str:
    """Why a dataset TOML cannot be used as it is, in sentences; empty where it can.

    Whether its folders are there is not looked at.
    """
    try:
        parsed = _validated(file, _parsed(file))
        for d, dataset in enumerate(parsed.datasets):
            _check_kinds(f"datasets[{d}]", dataset)
            for level in (parsed.general, dataset, *dataset.subsets):
                for name, (neutral, advice) in IDLE.items():
                    if (stated := getattr(level, name, None)) not in (None, *neutral):
                        return f"{name} is {stated!r}, which is not offered here; {advice}."
    except UserError as reason:
        return str(reason)
    return ""


def _parsed(file: Path) -> dict[str, Any]:
    check_regular_file(file, largest=LARGEST_TEXT)
    try:
        text = file.read_text(encoding="utf-8-sig")
        found = json.loads(text) if file.suffix.lower() == ".json" else tomllib.loads(text)
    except OSError as reason:
        raise UserError(
            f"{file}: the dataset TOML cannot be read ({reason.strerror}).", code="unreadable-file"
        ) from None
    except UnicodeDecodeError:
        raise UserError(f"{file}: the dataset TOML is not UTF-8 text; save it as UTF-8.", code="not-utf8") from None
    except (ValueError, RecursionError) as reason:
        hint = "; in TOML write a Windows path in 'single quotes'" if "\\" in text else ""
        raise UserError(
            f"{file}: not valid {file.suffix.lstrip('.').upper()}: {reason}{hint}.",
            code="invalid-json" if file.suffix.lower() == ".json" else "invalid-toml",
        ) from None
    if not isinstance(found, dict):
        raise UserError(
            f"{file}: it holds a JSON {type(found).__name__}; a dataset file is an object.", code="invalid-content"
        )
    return found


def _validated(file: Path, data: dict[str, Any]) -> DatasetFile:
    listed = data.get("datasets")
    for level in (data.get("general"), *(listed if isinstance(listed, list) else ())):
        for name in set(OURS) & set(level if isinstance(level, dict) else ()):
            raise UserError(
                f"{file.name}: {name} does not belong into a dataset TOML; {OURS[name]}.", code="unknown-key"
            )
    try:
        return DatasetFile.model_validate(data)
    except ValidationError as mistakes:
        raise UserError(
            f"{file.name}: " + "\n".join(schema_error_text(m, DatasetFile) for m in mistakes.errors()),
            code=validation_error_code(mistakes),
        ) from None


def _check_kinds(where: str, dataset: Dataset) -> None:
    if not dataset.subsets:
        raise UserError(
            f"{where} has no [[datasets.subsets]]: state at least one with image_dir.", code="missing-value"
        )
    listed = [subset.metadata_file is not None for subset in dataset.subsets]
    if any(listed) and not all(listed):
        raise UserError(
            f"{where} mixes subsets with metadata_file (fine-tuning) and without (DreamBooth); "
            "put them into two [[datasets]].",
            code="conflicting-options",
        )


def _check_twice(where: str, found: list[Source]) -> None:
    seen: set[tuple[Path | None, Path | None]] = set()
    for source in found:
        if (source.folder, source.metadata) in seen:
            raise UserError(
                f"{where} names {source.metadata or source.folder} twice; kohya would ignore the second.",
                code="stated-twice",
            )
        seen.add((source.folder, source.metadata))


def _source(
    where: str, levels: tuple[Subset, Dataset, Any], file: Path, config: DataConfig, note: Callable[[str], None]
) -> Source:
    subset = levels[0]

    def value(name: str, default: Any) -> Any:
        found = (getattr(level, name) for level in levels[name in DATASET_ONLY :])
        return next((v for v in found if v is not None), default)

    for name, (neutral, advice) in IDLE.items():
        if (stated := value(name, None)) not in (None, *neutral):
            raise UserError(
                f"{where}: {name} is {stated!r}, which is not offered here; {advice}.", code="not-supported"
            )
    if subset.image_dir is None and subset.metadata_file is None:
        raise UserError(f"{where} has neither image_dir nor metadata_file.", code="missing-value")
    _check_subset(where, subset)
    folder = None if subset.image_dir is None else _path(where, "image_dir", subset.image_dir, file, note)
    metadata = None if subset.metadata_file is None else _path(where, "metadata_file", subset.metadata_file, file, note)
    masks = subset.conditioning_data_dir
    mask_folder = None if masks is None else str(_path(where, "conditioning_data_dir", masks, file, note))
    regularisation = bool(subset.is_reg)
    return Source(
        where=where,
        folder=folder,
        options=_options(where, value, mask_folder, bool(subset.alpha_mask), config),
        regularisation=regularisation,
        importance=config.prior_loss_weight if regularisation else 1.0,
        metadata=metadata,
        flat=True,
        several_lines="first",
    )


def _check_subset(where: str, subset: Subset) -> None:
    if subset.metadata_file is not None:
        for name in ("is_reg", "caption_extension", "class_tokens", "conditioning_data_dir"):
            if getattr(subset, name) is not None:
                raise UserError(f"{where}: {name} means nothing beside metadata_file; remove it.", code="unused-option")
    if subset.conditioning_data_dir is not None and subset.alpha_mask:
        raise UserError(
            f"{where}: conditioning_data_dir and alpha_mask are two sources of the mask; keep one.",
            code="conflicting-options",
        )


def _options(
    where: str, value: Callable[[str, Any], Any], masks: str | None, alpha_mask: bool, config: DataConfig
) -> ImageOptions:
    """The options of a subset in our words, with kohya's defaults."""
    options = ImageOptions.model_construct(
        repeats=value("num_repeats", 1),
        resolution=value("resolution", config.resolution),
        buckets=value("enable_bucket", False),
        bucket_min=value("min_bucket_reso", 256),
        bucket_max=value("max_bucket_reso", 1024),
        bucket_step=value("bucket_reso_steps", 64),
        bucket_upscale=not value("bucket_no_upscale", False),
        flip=value("flip_aug", False),
        random_crop=value("random_crop", False),
        masked_loss=masks is not None,
        masks=masks,
        alpha_mask=alpha_mask,
        caption=value("class_tokens", None),
        caption_extension=value("caption_extension", None),
        caption_prefix=value("caption_prefix", ""),
        caption_suffix=value("caption_suffix", ""),
        caption_separator=value("caption_separator", ","),
        secondary_separator=value("secondary_separator", "") or None,
        wildcards=value("enable_wildcard", False),
        shuffle_tags=value("shuffle_caption", False),
        keep_tokens=value("keep_tokens", 0),
        keep_tokens_separator=value("keep_tokens_separator", "") or None,
        caption_dropout=value("caption_dropout_rate", 0.0),
        caption_dropout_every_n_epochs=value("caption_dropout_every_n_epochs", 0),
        tag_dropout=value("caption_tag_dropout_rate", 0.0),
        token_warmup_steps=value("token_warmup_step", 0),
        token_warmup_min=value("token_warmup_min", 1),
    )
    try:
        options.check_buckets(BUCKET_NAMES)
    except UserError as mistake:
        raise UserError(f"{where}: {mistake}", code=mistake.code) from None
    return options


def _path(where: str, name: str, text: str, file: Path, note: Callable[[str], None]) -> Path:
    """A path of the TOML: from the current folder as kohya reads it, or from the TOML's own."""
    file_wanted = name == "metadata_file"
    here, beside = Path(text).expanduser().absolute(), (file.parent / text).absolute()
    if here.exists():
        return here
    if beside.exists():
        note(f"{where}: {name} = {text!r} is taken from the folder of {file.name}")
        return beside
    raise UserError(
        f"{where}: {name} = {text!r}: {missing(here, 'file' if file_wanted else 'folder')}", code="missing-file"
    )
