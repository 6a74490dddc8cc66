"""Recipes written on one line, as the commands that show several at once take them.

    plain
    min_snr:gamma=5
    min_snr debiased max_weight=7
    v_prediction zero_terminal_snr min_snr min_weight=0.01 ip_noise:gamma=0.1
    Debiased, limited = debiased max_weight=7

Words are separated by spaces: a prediction type, a weighting, a perturbation or a noise shape with its parameters, a
switch (`zero_terminal_snr`, `normalize`, `plain`), or `field=value` of the recipe. What stands before ` = ` is its
label. Other spellings of names, such as `v` or `minsnr`, are accepted (core/registries/aliases.py).
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, get_args, get_origin

from pydantic.fields import FieldInfo

from snrlab.config.sections.recipe import RecipeConfig
from snrlab.config.sections.strategy import registry_of
from snrlab.core.errors import UserError, unknown
from snrlab.core.lr_schedules import LR_SCHEDULES
from snrlab.core.perturbation import PERTURBATIONS
from snrlab.core.prediction import PREDICTION_TYPES
from snrlab.core.recipe import Recipe
from snrlab.core.registries.aliases import canonical
from snrlab.core.registries.parameters import parse_value
from snrlab.core.registries.registry import LIST_COMMAND, Choice, Registry
from snrlab.core.registries.tensor_registries import LOSSES, NOISES, OPTIMIZERS
from snrlab.core.schedule import SCHEDULES
from snrlab.core.timesteps.density import DENSITIES
from snrlab.core.timesteps.timestep_sampling import SAMPLINGS
from snrlab.core.weights.weighting import WEIGHTINGS

_PLAIN = "plain"
# a word alone is looked up here; a name that is also a prediction type means that: write weighting=NAME for the other
_WORDS: Mapping[str, Registry] = {"perturbation": PERTURBATIONS, "noise": NOISES}


def _number(name: str, text: str) -> float:
    value = parse_value(text)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UserError(f"recipe: {name} is '{text}'; it must be a number.", code="not-a-number")
    return float(value)


def _types(field: FieldInfo) -> tuple[Any, ...]:
    return (field.annotation, *get_args(field.annotation))


def _parser(name: str, field: FieldInfo) -> Callable[[str], Any] | None:
    """The parser of the text in `name=text`; None for switches and lists, which are not written so."""
    if bool in _types(field) or get_origin(field.annotation) is list:
        return None
    if (registry := registry_of(field)) is not None:
        return registry.parse
    return partial(_number, name) if float in _types(field) else str


SWITCHES = tuple(name for name, field in RecipeConfig.model_fields.items() if bool in _types(field))
VALUES: Mapping[str, Callable[[str], Any]] = {
    name: parser for name, field in RecipeConfig.model_fields.items() if (parser := _parser(name, field))
}


def parse_recipe(text: str) -> tuple[str, Recipe]:
    """(label, recipe) of a line.

    >>> label, recipe = parse_recipe("Both = min_snr:gamma=5 debiased max_weight=7")
    >>> label, [c.name for c in recipe.weighting], recipe.max_weight
    ('Both', ['min_snr', 'debiased'], 7.0)

    Raises:
        UserError: an unknown word, a word given twice, or a value out of range; it names the word.
    """
    label, equals, _ = text.partition(" = ")
    parts = _named_parts(text)
    return (label if equals else text).strip(), Recipe(**{**parts, "weighting": tuple(parts.get("weighting", ()))})


def recipe_section(text: str) -> RecipeConfig:
    """The section of a run file that states what a line names and leaves the rest to the model.

    >>> section = recipe_section("min_snr:gamma=5 max_weight=7")
    >>> [choice.spec for choice in section.weighting], section.max_weight, section.prediction_type
    (['min_snr:gamma=5'], 7.0, None)

    Raises:
        UserError: as `parse_recipe`.
    """
    return RecipeConfig(**_named_parts(text))


def _named_parts(text: str) -> dict[str, Any]:
    """The fields of a recipe that a line names, and their values."""
    words = list(_words(text))
    if not words:
        raise UserError(
            f"recipe '{text}' is empty; write {_PLAIN} for the plain loss on epsilon.", code="invalid-syntax"
        )
    parts: dict[str, Any] = {}
    for word in words:
        _add_word(_in_full(word), parts)
    if "weighting" in parts:
        parts["weighting"] = [WEIGHTINGS.parse(spec) for spec in parts["weighting"]]
    return parts


def spellings(text: str) -> dict[str, str]:
    """The other spellings of names in a line, each with the name that it stands for.

    >>> spellings("A = v minsnr:gamma=5 debiased density=logit-normal")
    {'v': 'v_prediction', 'minsnr': 'min_snr', 'logit-normal': 'logit_normal'}
    """
    pairs = ((_name_in(word), _name_in(_in_full(word))) for word in _words(text))
    return {name: full for name, full in pairs if name != full}


def lone_words() -> list[str]:
    """The words that a recipe's line may hold without `field=`."""
    return list(dict.fromkeys([*PREDICTION_TYPES, *WEIGHTINGS, *PERTURBATIONS, *NOISES, *SWITCHES, _PLAIN]))


def names_by_kind() -> dict[str, tuple[str, ...]]:
    """Every name that a recipe or a run file may hold, by its kind."""
    recipe_parts = (SCHEDULES, WEIGHTINGS, DENSITIES, SAMPLINGS, PERTURBATIONS, NOISES)
    registries = (*recipe_parts, OPTIMIZERS, LR_SCHEDULES, LOSSES)
    return {"prediction_type": PREDICTION_TYPES, **{r.kind: tuple(r) for r in registries}, "switch": SWITCHES}


def write_recipe(recipe: Recipe) -> str:
    """The line that `parse_recipe` reads back, without what has its default.

    >>> write_recipe(parse_recipe("v_prediction min_snr:gamma=5 max_weight=7 zero_terminal_snr")[1])
    'v_prediction zero_terminal_snr min_snr:gamma=5 max_weight=7'
    """
    plain = Recipe()
    words: list[str] = []
    if recipe.prediction_type != plain.prediction_type:
        words.append(recipe.prediction_type)
    words += [switch for switch in SWITCHES if getattr(recipe, switch)]
    for choice in recipe.weighting:
        spec = _brief(choice)
        words.append(spec if choice.name not in PREDICTION_TYPES else f"weighting={spec}")
    words += [_word(name, getattr(recipe, name)) for name in _written_fields(recipe, plain)]
    return " ".join(shlex.quote(word) if " " in word else word for word in words) or _PLAIN


def _written_fields(recipe: Recipe, plain: Recipe) -> list[str]:
    """Fields that are written as `name=value`: strategies before numbers and names, and of them sampling last."""
    changed = [n for n in VALUES if n != "prediction_type" and getattr(recipe, n) != getattr(plain, n)]
    return sorted(changed, key=lambda name: (not isinstance(getattr(recipe, name), Choice), name == "sampling"))


def _word(name: str, value: Any) -> str:
    if isinstance(value, Choice):
        return f"{name}={_brief(value)}"
    return f"{name}={value:g}" if isinstance(value, float) else f"{name}={value}"


def _brief(choice: Choice) -> str:
    """Its spec without what is off by default, such as random_strength=false; numbers are shown, default or not."""
    parameters = choice.entry.parameters
    stated = ((k, v) for k, v in choice.values if not (v is parameters[k].default and (v is None or v is False)))
    return replace(choice, values=tuple(stated)).spec


def _words(text: str) -> Iterator[str]:
    label, equals, rest = text.partition(" = ")
    yield from _split_words(rest if equals else label)


def _parts(word: str) -> tuple[str, str, str]:
    """A word as `field=`, name, and the rest; the field is empty in `name` and `name:parameter=value`."""
    key, equals, value = word.partition("=")
    field = f"{key}=" if equals and ":" not in key else ""
    name, colon, rest = (value if field else word).partition(":")
    return field, name, colon + rest


def _name_in(word: str) -> str:
    field, name, _ = _parts(word)
    return name if field and field[:-1] not in SWITCHES else field.removesuffix("=") or name


def _in_full(word: str) -> str:
    """The word with the full name in the place of another spelling."""
    field, name, rest = _parts(word)
    if not field:
        return (canonical(name, lone_words()) or name) + rest
    key = canonical(field[:-1], [*VALUES, *SWITCHES, "weighting"]) or field[:-1]
    annotated = RecipeConfig.model_fields.get(key)
    registry = registry_of(annotated) if annotated is not None else None
    allowed = PREDICTION_TYPES if key == "prediction_type" else () if registry is None else tuple(registry)
    return f"{key}={canonical(name, allowed) or name}{rest}"


def _split_words(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError as reason:
        raise UserError(f"recipe '{text}' cannot be read: {str(reason).lower()}.", code="invalid-syntax") from None


def _add_word(word: str, parts: dict[str, Any]) -> None:
    """Set the field of the recipe that a word stands for."""
    name = word.partition(":")[0]
    key, equals, value = word.partition("=")
    kind = next((kind for kind, registry in _WORDS.items() if name in registry), None)
    if word == _PLAIN:
        return
    if word in PREDICTION_TYPES:
        _set_once(parts, "prediction_type", word)
    elif word in SWITCHES:
        _set_once(parts, word, True)
    elif key in SWITCHES and equals:  # as a run file has it
        if value not in ("true", "false"):
            raise UserError(f"recipe: {key} is true or false, not '{value}'; {key} alone says true.", code="wrong-type")
        _set_once(parts, key, value == "true")
    elif name in WEIGHTINGS:
        parts.setdefault("weighting", []).append(word)
    elif kind is not None:
        _set_once(parts, kind, _WORDS[kind].parse(word))
    elif key == "weighting" and equals:
        parts.setdefault("weighting", []).append(value)
    elif key in VALUES and equals:
        _set_once(parts, key, VALUES[key](value))
    else:
        allowed = [*lone_words(), *(f"{field}=..." for field in VALUES)]
        raise unknown("recipe", name if ":" in word else key, allowed, listed_by=LIST_COMMAND)


def _set_once(parts: dict[str, Any], key: str, value: Any) -> None:
    if key in parts:
        raise UserError(f"recipe: {key} is given twice.", code="stated-twice")
    parts[key] = value
