"""One table of the options of captions, and one of the recipe's fields: what is stated there is known everywhere."""

import itertools
import json
import types
from dataclasses import fields
from typing import Literal, get_args, get_origin

import pytest
import tomlkit
from annotated_types import Ge, Le

from imaging import captioned
from snrlab.config import parse_run
from snrlab.config.load import dump, parse_section
from snrlab.config.option_tables.kohya import DATASET_TOML, KOHYA_OPTIONS
from snrlab.config.sections.captions import MOVES_TAGS, CaptionOptions
from snrlab.config.sections.data import DataConfig, ImageOptions, ImageSet
from snrlab.config.sections.recipe import RecipeConfig, build_recipe, state_recipe
from snrlab.config.sections.strategy import registry_of
from snrlab.core.errors import UserError
from snrlab.core.recipe import Recipe
from snrlab.core.schedule import SCHEDULES
from snrlab.data.dataset import load_items
from snrlab.data.items import DataSet
from snrlab.data.kohya.dataset_schema import DatasetOptions, Subset
from snrlab.lab.recipe_text import parse_recipe, write_recipe
from snrlab.peers.exporting import export_settings
from snrlab.peers.importing import import_source
from snrlab.train.outputs import training_metadata
from snrlab.train.resume.fingerprints import _use

OF_KOHYA = [name for name in CaptionOptions.model_fields if name in DATASET_TOML]


def kinds(annotation):
    return {get_origin(kind) or kind for kind in (annotation, *get_args(annotation))}


def another(field):
    """A value that a field may have beside its default, by its type and limits alone."""
    allowed = kinds(field.annotation)
    if bool in allowed:
        return not field.default
    least = next((limit.ge for limit in field.metadata if isinstance(limit, Ge)), 0)
    most = next((limit.le for limit in field.metadata if isinstance(limit, Le)), least + 10)
    if allowed & {int, float}:
        return next(v for v in (least + 3, most / 2) if v != field.default and least <= v <= most)
    return "&"


@pytest.fixture(params=list(CaptionOptions.model_fields))
def option(request):
    return request.param, another(CaptionOptions.model_fields[request.param])


def test_a_set_of_images_may_state_it(option):
    name, value = option
    options = ImageSet(folder="f", **{name: value}).options(ImageOptions())
    assert getattr(options, name) == getattr(options.caption_options, name) == value
    assert getattr(ImageSet(folder="f").options(ImageOptions(**{name: value})), name) == value, "[data] says the rest"


@pytest.mark.parametrize("level", ["general", "dataset", "subset"])
@pytest.mark.parametrize("field", OF_KOHYA)
def test_a_dataset_toml_may_state_it(tmp_path, field, level):
    folder = captioned(tmp_path / "cats", a="one, two")
    option, value = DATASET_TOML[field], another(CaptionOptions.model_fields[field])
    stated = {level: {option.name: value}}
    subset = {"image_dir": str(folder), **stated.get("subset", {})}
    content = {"general": stated.get("general", {}), "datasets": [{**stated.get("dataset", {}), "subsets": [subset]}]}
    file = tmp_path / "dataset.toml"
    file.write_text(tomlkit.dumps(content))
    assert getattr(load_items(DataConfig(dataset_config=str(file)), 0)[0][0].part.captions, field) == value
    with pytest.raises(UserError, match=f"state {option.name} there"):
        parse_section({"dataset_config": str(file), field: value}, DataConfig, "data")


@pytest.mark.parametrize("field", OF_KOHYA)
def test_it_comes_from_kohyas_training_file(tmp_path, field):
    value = another(CaptionOptions.model_fields[field])
    together = {DATASET_TOML[other].name: another(CaptionOptions.model_fields[other]) for other in OF_KOHYA}
    content = {"pretrained_model_name_or_path": "m", "train_data_dir": "d", "network_module": "networks.lora"}
    (tmp_path / "kohya.toml").write_text(tomlkit.dumps({**content, **together}))
    imported = import_source(tmp_path / "kohya.toml").written.text
    assert tomlkit.parse(imported)["data"][field] == value


def exported(trainer, data=types.MappingProxyType({}), **recipe):
    run = {"model": {"path": "m.safetensors"}, "data": {"folder": "images", **data}, "recipe": recipe}
    result = export_settings(parse_run(run), trainer)
    return result.options, result.dataset, result.dropped


@pytest.mark.parametrize("trainer", ["kohya", "onetrainer"])
def test_no_option_of_captions_is_lost_in_an_export(trainer, option):
    """Another trainer's file says it, or it is reported."""
    every = {name: another(field) for name, field in CaptionOptions.model_fields.items()}
    if option[0] in MOVES_TAGS:
        every = {option[0]: option[1]}
    without = {name: value for name, value in every.items() if name != option[0]}
    assert exported(trainer, every) != exported(trainer, without)


def test_metadata_has_it_where_kohya_writes_it(option):
    name, value = option
    part = DataSet("cats", (512, 512), captions=CaptionOptions(**{name: value}))
    place = DATASET_TOML[name].metadata if name in DATASET_TOML else ""
    of_set, of_run = training_metadata._subset(part, 1), training_metadata._options([part])
    key = DATASET_TOML[name].name if name in DATASET_TOML else name
    assert of_set.get(key) == (value if place in ("set", "both") else None)
    assert of_run.get(f"ss_{key}") == (value if place in ("run", "both") else None)


def test_levels_of_a_dataset_toml_are_those_of_the_table():
    of_dataset, of_subset = set(DatasetOptions.model_fields), set(Subset.model_fields)
    for name, option in KOHYA_OPTIONS.items():
        places = {"": (False, False), "every": (True, True), "dataset": (True, False), "subset": (False, True)}
        assert (name in of_dataset, name in of_subset) == places[option.dataset_toml], name
    assert of_dataset | of_subset <= set(KOHYA_OPTIONS)


def test_fingerprints_of_runs_that_were_started_before_stay():
    """A resumed run compares them: the names of captions' options in them are a file format."""
    captions = CaptionOptions(wildcards=True, caption_suffix="b", caption_separator=";", keep_tokens=4)
    assert json.dumps(_use(DataSet("cats", (512, 512), flip=True, captions=captions))) == (
        '{"name": "", "resolution": [512, 512], "buckets": null, "repeats": 1, "flip": true, "random_crop": false, '
        '"captions": {"wildcard": true, "prefix": "", "suffix": "b", "dropout": 0.0, "dropout_every": 0, '
        '"separator": ";", "secondary_separator": null, "keep_tokens": 4, "keep_separator": null, "shuffle": false, '
        '"tag_dropout": 0.0, "warmup_min": 1, "warmup_steps": 0}, '
        '"regularisation": false, "importance": 1.0, "alpha_mask": false}'
    )


def test_each_option_of_captions_is_in_the_fingerprint(option):
    name, value = option
    changed = CaptionOptions(**{name: value})
    assert _use(DataSet("cats", (512, 512))) != _use(DataSet("cats", (512, 512), captions=changed))


RECIPE_FIELDS = [field.name for field in fields(Recipe)]


def other_recipe_value(name):
    """A value of [recipe] that is not the default, from the field's type alone."""
    field, default = RecipeConfig.model_fields[name], getattr(Recipe(), name)
    registry, allowed = registry_of(field), kinds(field.annotation)
    if registry is not None:
        entries = (e for e in registry.values() if not any(p.required for p in e.parameters.values()))
        choice = [c for c in (registry.bind(e.name) for e in entries) if c != default][-1]  # the first are mild
        return [choice] if list in allowed else choice
    if bool in allowed:
        return not default
    if float in allowed:
        return 2.0
    if list in allowed:  # of stages
        return [{"from_step": 5, "normalize": True}]
    literal = next(kind for kind in (field.annotation, *get_args(field.annotation)) if get_origin(kind) is Literal)
    return next(value for value in get_args(literal) if value != default)


@pytest.mark.parametrize("name", RECIPE_FIELDS)
def test_a_run_file_states_each_field_of_the_recipe_and_it_is_written_back(name):
    section = RecipeConfig.model_validate({name: other_recipe_value(name)})
    recipe = build_recipe(section, schedule=SCHEDULES.bind("sd"), prediction_type="epsilon")
    assert getattr(recipe, name) != getattr(Recipe(), name)
    assert build_recipe(state_recipe(recipe), schedule=None, prediction_type=None) == recipe
    stated = section.model_dump(exclude_none=True)[name]
    config = parse_run({"model": {"random": "small"}, "data": {"folder": "f"}, "recipe": {name: stated}})
    again = parse_run(tomlkit.parse(dump(config)).unwrap())
    assert getattr(again.recipe, name) == getattr(config.recipe, name)


@pytest.mark.parametrize("name", [name for name in RECIPE_FIELDS if name != "stages"])
def test_a_line_states_each_field_of_the_recipe_and_it_is_written_back(name):
    value = other_recipe_value(name)
    first = value[0] if isinstance(value, list) else value
    text = {True: "true", False: "false"}.get(first) if isinstance(first, bool) else getattr(first, "spec", first)
    recipe = parse_recipe(f"{name}={text}")[1]
    assert getattr(recipe, name) == (tuple(value) if isinstance(value, list) else value)
    assert parse_recipe(write_recipe(recipe))[1] == recipe


# OneTrainer has one weighting alone and a way of drawing that leaves the objective as it is
NOT_REPORTED = {("onetrainer", "product_on"), ("onetrainer", "sampling")}


@pytest.mark.parametrize(
    ("trainer", "name"),
    [pair for pair in itertools.product(("kohya", "onetrainer"), RECIPE_FIELDS) if pair not in NOT_REPORTED],
)
def test_no_field_of_the_recipe_is_lost_in_an_export(name, trainer):
    """Another trainer's file says it, or it is reported."""
    value = RecipeConfig.model_validate({name: other_recipe_value(name)}).model_dump(exclude_none=True)[name]
    beside = {"weighting": ["min_snr", "p2"], "prediction_type": "v_prediction"} if name == "product_on" else {}
    assert exported(trainer, **{**beside, name: value}) != exported(trainer, **beside)
