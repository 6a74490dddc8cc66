"""Reader of settings: recognises the kind of a file or folder and takes the settings from it."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from snrlab.config import parse_run
from snrlab.config.load import validation_error_code
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
from snrlab.peers.kohya.file_formats import GUI_KEYS, OF_LORA_SCRIPTS, from_gui, from_lora_easy, from_training_toml
from snrlab.peers.kohya.option_texts import from_metadata, split_arguments
from snrlab.peers.onetrainer import interpretation as onetrainer_meaning
from snrlab.peers.onetrainer.versions import as_today
from snrlab.peers.other_files import describe_list, describe_object, refuse_other_toml, weights_kind
from snrlab.peers.other_models import refuse_other_models
from snrlab.peers.settings import Settings, other_loss
from snrlab.runs.folder import RunFolder

ALL_STEPS = ("max_timestep", kohya_settings.STEPS)  # its value where it is not stated
WINDOW_KEYS = {"LoRA_type", "max_resolution", "additional_parameters"}
ONETRAINER_KEYS = {"training_method", "model_type", "loss_weight_fn", "base_model_name", "__version"}


def read_source(path: Path) -> Settings:
    """Read the settings in a file or run folder.

    Raises:
        UserError: the file does not exist or is of no known kind; the message says what can be read.
    """
    if path.is_dir():
        run = RunFolder(path)
        if run.started:
            return _read_run(read_text(run.config_file), path.name, "a run of snrlab")
        raise UserError(f"{path} is a folder without run.toml, so it is no run.", code="not-a-run")
    match path.suffix.lower():
        case ".toml":
            return _read_toml_settings(path)
        case ".json":
            return _read_json_settings(path)
        case _:
            return _read_model_file(path)


def _read_toml_settings(path: Path) -> Settings:
    tables = read_toml(path)
    refuse_other_toml(path.name, tables)
    if isinstance(tables.get("model"), dict) and isinstance(tables.get("data"), dict):
        return _read_run(read_text(path), path.name, "a run file of snrlab")
    if any(isinstance(section, dict) and isinstance(section.get("args"), dict) for section in tables.values()):
        options, extras, subsets = from_lora_easy(tables)
        settings = _kohya_recipe_settings(path.name, "a TOML of LoRA_Easy_Training_Scripts", options)
        return replace(settings, extras=extras, subsets=tuple(subsets))
    flat, kind = from_training_toml(tables)
    if not set(flat) & set(RUN):
        refuse_other_models({}, flat)
        raise UserError(
            f"{path.name} has none of the options of a trainer that is known here (kohya, LoRA_Easy, snrlab).",
            code="wrong-file",
        )
    extras = {name: flat.pop(name) for name in list(flat) if name in OF_LORA_SCRIPTS}
    return replace(_kohya_recipe_settings(path.name, kind, flat), extras=extras)


def _read_json_settings(path: Path) -> Settings:
    content = read_any_json(path)
    if isinstance(content, list):
        raise UserError(f"{path.name} is {describe_list(content)}.", code="wrong-file")
    # a table in OneTrainer's files, but for the oldest
    window = isinstance(content.get("optimizer"), str) or bool(set(content) & WINDOW_KEYS)
    if "training_method" in content or (set(content) & ONETRAINER_KEYS and not window):
        return _onetrainer_settings(path.name, "a configuration of OneTrainer", content)
    if set(content) & GUI_KEYS:
        options, extras = from_gui(content)
        return replace(_kohya_recipe_settings(path.name, "a settings file of kohya_ss (GUI)", options), extras=extras)
    raise UserError(f"{path.name} is {describe_object(content)}.", code="wrong-file")


def _read_model_file(path: Path) -> Settings:
    header = read_header(path, "source")
    metadata = header.metadata
    kind = weights_kind(header.shapes)
    if "snrlab.recipe" in metadata:
        recipe = parse_json(metadata["snrlab.recipe"], f"the recipe in {path.name}")
        section = _validate_recipe(recipe, path.name)
        return _recipe_settings(path.name, f"{kind} trained by snrlab", section, complete_recipe(section))
    if "ot_config" in metadata:
        config = parse_json(metadata["ot_config"], f"ot_config in {path.name}")
        return _onetrainer_settings(path.name, f"{kind} trained by OneTrainer", config)
    if any(key.startswith("ss_") for key in metadata):
        options, unrecorded = from_metadata(metadata)
        finding = Finding(
            "not_recorded",
            "info",
            f"the file does not record {', '.join(unrecorded)}: this explanation assumes their defaults.",
        )
        settings = _kohya_recipe_settings(path.name, f"{kind} trained by kohya sd-scripts", options, (finding,))
        version = metadata.get("ss_base_model_version")
        return replace(settings, finished=True, extras={"base_model_version": version} if version else {})
    raise UserError(f"{path.name} is {kind} whose metadata says nothing of how it was trained.", code="wrong-file")


def _kohya_recipe_settings(
    name: str, kind: str, options: Mapping[str, Any], findings: tuple[Finding, ...] = ()
) -> Settings:
    recipe_options = tuple(k for k in options if k in kohya_settings.RECIPE_OPTIONS or k not in RUN)
    at_default = tuple(
        k for k in recipe_options if k in RUN and (RUN[k].is_default(options[k]) or (k, options[k]) == ALL_STEPS)
    )
    return Settings(name, kind, "kohya", split_arguments(options), recipe_options, findings, at_default=at_default)


def _onetrainer_settings(name: str, kind: str, options: Mapping[str, Any]) -> Settings:
    options, findings = as_today(options)
    recipe_options = tuple(k for k in options if k in onetrainer_meaning.RECIPE_FIELDS)
    at_default = tuple(
        k for k in recipe_options if k in ONETRAINER_FIELDS and ONETRAINER_FIELDS[k].is_default(options[k])
    )
    return Settings(name, kind, "onetrainer", options, recipe_options, findings, at_default=at_default)


def _read_run(text: str, name: str, kind: str) -> Settings:
    try:
        tables = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{name} is not valid TOML: {error}.", code="invalid-toml") from None
    config = parse_run(tables, source=name)
    resolved = resolve_to_show(config)
    findings = []
    if config.train.loss.name != "mse":
        findings.append(other_loss(f"train.loss {config.train.loss.spec}"))
    if resolved.disagreement:
        findings.append(Finding("model_disagrees", "error", resolved.disagreement))
    settings = _recipe_settings(name, kind, config.recipe, resolved.recipe)
    return replace(settings, findings=tuple(findings), assumption=resolved.assumption)


def _validate_recipe(table: dict[str, Any], name: str) -> RecipeConfig:
    try:
        return RecipeConfig.model_validate(table)
    except ValidationError as error:
        raise UserError(f"{name}: its recipe cannot be read ({error}).", code=validation_error_code(error)) from None


def _recipe_settings(name: str, kind: str, section: RecipeConfig, recipe: Recipe) -> Settings:
    """Settings of a [recipe]: the fields that differ from their defaults."""
    defaults = RecipeConfig.model_validate({})
    values = {field: getattr(section, field) for field in RecipeConfig.model_fields}
    changed = {field: _as_text(value) for field, value in values.items() if value != getattr(defaults, field)}
    return Settings(name, kind, "snrlab", changed, tuple(changed), recipe=recipe)


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
