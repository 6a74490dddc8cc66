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
from snrlab.config.option_tables.kohya import DATASET_TOML, Option
from snrlab.config.sections.data import DataConfig, ImageOptions
from snrlab.core.errors import UserError
from snrlab.core.regular_file import check_regular_file
from snrlab.data.image_folder import missing
from snrlab.data.image_source import Source
from snrlab.data.kohya.dataset_schema import (
    MISPLACED,
    WITHOUT_COUNTERPART,
    Dataset,
    DatasetFile,
    DatasetOptions,
    Subset,
    is_optional_text,
)
from snrlab.files.text import LARGEST_TEXT

KOHYA_NAMES = {field: option.name for field, option in DATASET_TOML.items()}
# kohya's default is .caption; a folder is looked into instead, whichever suffix its captions have
SUFFIX = "caption_extension"

TomlLevels = tuple[Subset, Dataset, DatasetOptions]  # the nearest first


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
    """The datasets of a TOML (or JSON) file; `config` says the resolution where it does not.

    Raises:
        UserError: it cannot be read, has an unknown key, or asks for something that would be ignored.
    """
    parsed = _validate(file, _parse(file))
    datasets: list[tuple[Source, ...]] = []
    notes: list[str] = []
    for d, dataset in enumerate(parsed.datasets):
        where = f"{file.name}, datasets[{d}]"
        _check_subset_kinds(where, dataset)
        sources = []
        for s, subset in enumerate(dataset.subsets):
            levels = (subset, dataset, parsed.general)
            sources.append(_source(f"{where}.subsets[{s}]", levels, file, config, notes.append))
        _check_repeated(where, sources)
        datasets.append(tuple(sources))
    sizes = (d.batch_size or parsed.general.batch_size for d in parsed.datasets)
    return KohyaDatasets(tuple(datasets), frozenset(size for size in sizes if size), tuple(notes))


def refusal(file: Path) -> str:
    """Why a dataset TOML cannot be used as it is, in sentences; empty where it can.

    Whether its folders are there is not looked at.
    """
    try:
        parsed = _validate(file, _parse(file))
        for d, dataset in enumerate(parsed.datasets):
            _check_subset_kinds(f"datasets[{d}]", dataset)
            places = [(subset.image_dir, subset.metadata_file) for subset in dataset.subsets]
            if twice := next((place for place in places if places.count(place) > 1), None):
                return f"datasets[{d}] names {twice[1] or twice[0]} twice."
            for level in (parsed.general, dataset, *dataset.subsets):
                for name, (neutral, advice) in WITHOUT_COUNTERPART.items():
                    if (value := getattr(level, name, None)) not in (None, *neutral):
                        return f"{name} is {value!r}, which is not offered here; {advice}."
    except UserError as reason:
        return str(reason)
    return ""


def _parse(file: Path) -> dict[str, Any]:
    check_regular_file(file, largest=LARGEST_TEXT)
    try:
        text = file.read_text(encoding="utf-8-sig")
        data = json.loads(text) if file.suffix.lower() == ".json" else tomllib.loads(text)
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
    if not isinstance(data, dict):
        raise UserError(
            f"{file}: it holds a JSON {type(data).__name__}; a dataset file is an object.", code="invalid-content"
        )
    return data


def _validate(file: Path, data: dict[str, Any]) -> DatasetFile:
    listed = data.get("datasets")
    for level in (data.get("general"), *(listed if isinstance(listed, list) else ())):
        for name in set(MISPLACED) & set(level if isinstance(level, dict) else ()):
            raise UserError(
                f"{file.name}: {name} does not belong into a dataset TOML; {MISPLACED[name]}.", code="unknown-key"
            )
    try:
        return DatasetFile.model_validate(data)
    except ValidationError as mistakes:
        raise UserError(
            f"{file.name}: " + "\n".join(schema_error_text(m, DatasetFile) for m in mistakes.errors()),
            code=validation_error_code(mistakes),
        ) from None


def _check_subset_kinds(where: str, dataset: Dataset) -> None:
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


def _check_repeated(where: str, sources: list[Source]) -> None:
    seen: set[tuple[Path | None, Path | None]] = set()
    for source in sources:
        if (source.folder, source.metadata) in seen:
            raise UserError(
                f"{where} names {source.metadata or source.folder} twice; kohya would ignore the second.",
                code="stated-twice",
            )
        seen.add((source.folder, source.metadata))


def _source(where: str, levels: TomlLevels, file: Path, config: DataConfig, note: Callable[[str], None]) -> Source:
    """A subset with its options; a note where a path is taken from the TOML's own folder."""
    subset = levels[0]
    for name, (neutral, advice) in WITHOUT_COUNTERPART.items():
        if (value := _stated_value(levels, name)) not in (None, *neutral):
            raise UserError(f"{where}: {name} is {value!r}, which is not offered here; {advice}.", code="not-supported")
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
        options=_options(where, levels, mask_folder, config),
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


def _stated_value(levels: TomlLevels, name: str) -> Any:
    """What the nearest level that states an option says; None where none does."""
    values = (getattr(level, name, None) for level in levels)
    return next((value for value in values if value is not None), None)


def _value(levels: TomlLevels, field: str, option: Option) -> Any:
    """The value of a field of [data] in the TOML, by default kohya's; None where kohya has none."""
    value = _stated_value(levels, option.name)
    if value is None and field != SUFFIX:
        value = option.value
    if value == "" and is_optional_text(field):
        return None
    return not value if option.rule == "not" else value


def _options(where: str, levels: TomlLevels, masks: str | None, config: DataConfig) -> ImageOptions:
    """The options of a subset as fields of [data], which says what the TOML leaves open."""
    values = {name: getattr(config, name) for name in ImageOptions.model_fields}
    for field, option in DATASET_TOML.items():
        if field in values and (value := _value(levels, field, option)) is not None:
            values[field] = value
    values |= {"masks": masks, "masked_loss": masks is not None}
    options = ImageOptions.model_construct(**values)
    try:
        options.check_buckets(KOHYA_NAMES)
    except UserError as mistake:
        raise UserError(f"{where}: {mistake}", code=mistake.code) from None
    return options


def _path(where: str, name: str, text: str, file: Path, note: Callable[[str], None]) -> Path:
    """A path of the TOML: from the current folder as kohya reads it, or from the TOML's own."""
    file_wanted = name == "metadata_file"
    from_current, from_file = Path(text).expanduser().absolute(), (file.parent / text).absolute()
    if from_current.exists():
        return from_current
    if from_file.exists():
        note(f"{where}: {name} = {text!r} is taken from the folder of {file.name}")
        return from_file
    raise UserError(
        f"{where}: {name} = {text!r}: {missing(from_current, 'file' if file_wanted else 'folder')}", code="missing-file"
    )
