"""Finding out what a source is, and reading the settings in it."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from snrlab.config import parse_run
from snrlab.config.load import code_of
from snrlab.config.option_tables.kohya import RUN
from snrlab.config.option_tables.onetrainer import ONETRAINER_FIELDS
from snrlab.config.sections.recipe import RecipeConfig, StageConfig
from snrlab.core.errors import UserError
from snrlab.core.findings.finding import Finding
from snrlab.core.recipe import Recipe
from snrlab.core.registries.registry import Choice
from snrlab.files.text import parse_json, read_any_json, read_text, read_toml
from snrlab.model_files.header import read_header
from snrlab.model_files.resolve import complete_recipe, resolve_to_show
from snrlab.peers.kohya import settings as kohya_settings
from snrlab.peers.kohya.files import GUI_KEYS, OF_LORA_SCRIPTS, of_easy, of_gui, of_sections
from snrlab.peers.kohya.option_texts import from_metadata, split_arguments
from snrlab.peers.onetrainer import meaning as onetrainer_meaning
from snrlab.peers.onetrainer.versions import as_today
from snrlab.peers.other_files import a_list, an_object, refuse_other_toml, weights_kind
from snrlab.peers.other_models import refuse_other_models
from snrlab.peers.settings import Settings, other_loss
from snrlab.runs.folder import RunFolder

ALL_STEPS = ("max_timestep", kohya_settings.STEPS)  # what it is where it is not stated
WINDOW_KEYS = {"LoRA_type", "max_resolution", "additional_parameters"}
ONETRAINER_KEYS = {"training_method", "model_type", "loss_weight_fn", "base_model_name", "__version"}


def read_source(path: Path) -> Settings:
    """The settings in a file or run folder.

    Raises:
        UserError: nothing there, or nothing that is known; the message says what can be read.
    """
    if path.is_dir():
        run = RunFolder(path)
        if run.started:
            return _own(read_text(run.config_file), path.name, "a run of snrlab")
        raise UserError(f"{path} is a folder without run.toml, so it is no run.", code="not-a-run")
    match path.suffix.lower():
        case ".toml":
            return _toml(path)
        case ".json":
            return _json(path)
        case _:
            return _weights(path)


def _toml(path: Path) -> Settings:
    tables = read_toml(path)
    refuse_other_toml(path.name, tables)
    if isinstance(tables.get("model"), dict) and isinstance(tables.get("data"), dict):
        return _own(read_text(path), path.name, "a run file of snrlab")
    if any(isinstance(section, dict) and isinstance(section.get("args"), dict) for section in tables.values()):
        options, beside, subsets = of_easy(tables)
        found = _kohya(path.name, "a TOML of LoRA_Easy_Training_Scripts", options)
        return replace(found, beside=beside, subsets=tuple(subsets))
    flat, kind = of_sections(tables)
    if not set(flat) & set(RUN):
        refuse_other_models({}, flat)
        raise UserError(
            f"{path.name} has none of the options of a trainer that is known here (kohya, LoRA_Easy, snrlab).",
            code="wrong-file",
        )
    beside = {name: flat.pop(name) for name in list(flat) if name in OF_LORA_SCRIPTS}
    return replace(_kohya(path.name, kind, flat), beside=beside)


def _json(path: Path) -> Settings:
    found = read_any_json(path)
    if isinstance(found, list):
        raise UserError(f"{path.name} is {a_list(found)}.", code="wrong-file")
    # a table in OneTrainer's files, but for the oldest
    window = isinstance(found.get("optimizer"), str) or bool(set(found) & WINDOW_KEYS)
    if "training_method" in found or (set(found) & ONETRAINER_KEYS and not window):
        return _onetrainer(path.name, "a configuration of OneTrainer", found)
    if set(found) & GUI_KEYS:
        options, beside = of_gui(found)
        return replace(_kohya(path.name, "a settings file of kohya_ss (GUI)", options), beside=beside)
    raise UserError(f"{path.name} is {an_object(found)}.", code="wrong-file")


def _weights(path: Path) -> Settings:
    header = read_header(path, "source")
    metadata = header.metadata
    what = weights_kind(header.shapes)
    if "snrlab.recipe" in metadata:
        stated = parse_json(metadata["snrlab.recipe"], f"the recipe in {path.name}")
        section = _section(stated, path.name)
        return _ours(path.name, f"{what} trained by snrlab", section, complete_recipe(section))
    if "ot_config" in metadata:
        config = parse_json(metadata["ot_config"], f"ot_config in {path.name}")
        return _onetrainer(path.name, f"{what} trained by OneTrainer", config)
    if any(key.startswith("ss_") for key in metadata):
        options, left_open = from_metadata(metadata)
        remark = Finding(
            "not_recorded",
            "info",
            f"the file does not record {', '.join(left_open)}: what is said here holds if they were left alone.",
        )
        found = _kohya(path.name, f"{what} trained by kohya sd-scripts", options, (remark,))
        version = metadata.get("ss_base_model_version")
        return replace(found, finished=True, beside={"base_model_version": version} if version else {})
    raise UserError(f"{path.name} is {what} whose metadata says nothing of how it was trained.", code="wrong-file")


def _kohya(name: str, kind: str, options: Mapping[str, Any], remarks: tuple[Finding, ...] = ()) -> Settings:
    matter = tuple(k for k in options if k in kohya_settings.RECIPE_OPTIONS or k not in RUN)
    usual = tuple(k for k in matter if k in RUN and (RUN[k].is_default(options[k]) or (k, options[k]) == ALL_STEPS))
    return Settings(name, kind, "kohya", split_arguments(options), matter, remarks, usual=usual)


def _onetrainer(name: str, kind: str, options: Mapping[str, Any]) -> Settings:
    options, remarks = as_today(options)
    matter = tuple(k for k in options if k in onetrainer_meaning.RECIPE_FIELDS)
    usual = tuple(k for k in matter if k in ONETRAINER_FIELDS and ONETRAINER_FIELDS[k].is_default(options[k]))
    return Settings(name, kind, "onetrainer", options, matter, remarks, usual=usual)


def _own(text: str, name: str, kind: str) -> Settings:
    try:
        tables = tomllib.loads(text)
    except (ValueError, RecursionError) as reason:
        raise UserError(f"{name} is not valid TOML: {reason}.", code="invalid-toml") from None
    config = parse_run(tables, source=name)
    resolved = resolve_to_show(config)
    remarks = []
    if config.train.loss.name != "mse":
        remarks.append(other_loss(f"train.loss {config.train.loss.spec}"))
    if resolved.disagreement:
        remarks.append(Finding("model_disagrees", "error", resolved.disagreement))
    asked = _ours(name, kind, config.recipe, resolved.recipe)
    return replace(asked, remarks=tuple(remarks), assumption=resolved.assumption)


def _section(stated: dict[str, Any], name: str) -> RecipeConfig:
    try:
        return RecipeConfig.model_validate(stated)
    except ValidationError as reason:
        raise UserError(f"{name}: its recipe cannot be read ({reason}).", code=code_of(reason)) from None


def _ours(name: str, kind: str, section: RecipeConfig, recipe: Recipe) -> Settings:
    """What a [recipe] asks for, by the fields that it sets to something else than their defaults."""
    usual = RecipeConfig.model_validate({})
    stated = {field: getattr(section, field) for field in RecipeConfig.model_fields}
    asked = {field: _as_text(value) for field, value in stated.items() if value != getattr(usual, field)}
    return Settings(name, kind, "snrlab", asked, tuple(asked), recipe=recipe)


def _as_text(value: Any) -> Any:
    """A value of [recipe] as the command line writes it."""
    match value:
        case Choice():
            return value.spec
        case [StageConfig(), *_]:
            return f"from step {', '.join(str(stage.from_step) for stage in value)}"
        case list():
            return " x ".join(map(_as_text, value)) or "none"
    return value
