"""Reading and writing run files; a mistake names the field, the value and what is allowed."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, get_args

import tomlkit
from pydantic import BaseModel, ValidationError

from snrlab.config.run import RunConfig
from snrlab.core.errors import UserError, unknown
from snrlab.core.parameters import parse_value


def read(path: Path, overrides: list[str] | None = None) -> RunConfig:
    """The run that a TOML file describes, with `section.key=value` overrides applied.

    Relative folders are taken from the current folder and made absolute, so that the resolved
    file means the same elsewhere.

    Raises:
        UserError: unreadable, not TOML, or not a valid run.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as reason:
        raise UserError(f"{path}: the run file cannot be read ({_reason(reason)}).") from None
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as reason:
        raise UserError(f"{path}: not valid TOML: {reason}.") from None
    return parse(apply_overrides(data, overrides or []), source=str(path))


def parse(data: dict[str, Any], *, source: str = "run") -> RunConfig:
    """A validated run from plain data.

    Raises:
        UserError: every mistake in it, one a line.
    """
    try:
        config = RunConfig.model_validate(data)
    except ValidationError as mistakes:
        lines = [_explain(error) for error in mistakes.errors()]
        raise UserError(f"{source}: " + "\n".join(lines)) from None
    return _absolute(config)


def apply_overrides(data: dict[str, Any], overrides: list[str]) -> dict[str, Any]:
    """Set dotted keys, such as `train.steps=200` or `recipe.weighting=["min_snr:gamma=5"]`.

    The value is read as TOML; what is not TOML is taken as text.

    >>> apply_overrides({}, ["train.steps=200", "name=first"])
    {'train': {'steps': 200}, 'name': 'first'}
    """
    for item in overrides:
        key, equals, text = item.partition("=")
        if not equals or not key.strip():
            raise UserError(f"--set '{item}': write section.key=value, such as train.steps=200.")
        *sections, last = key.strip().split(".")
        table = data
        for section in sections:
            table = table.setdefault(section, {})
            if not isinstance(table, dict):
                raise UserError(f"--set '{item}': '{section}' is not a section.")
        table[last] = _toml_value(text.strip())
    return data


def dump(config: RunConfig) -> str:
    """The run as TOML, every field with its value; fields that are none are left out."""
    document = tomlkit.document()
    document.add(tomlkit.comment("The resolved run. `snrlab train` with this file gives the same run again."))
    for name, value in config.model_dump().items():
        if isinstance(value, dict):
            if name == "lora" and config.train.method == "full":
                continue
            table = tomlkit.table()
            for key, item in value.items():
                if item is not None:
                    table.add(key, _tomlkit(item))
            document.add(name, table)
        else:
            document.add(name, value)
    return tomlkit.dumps(document)


def _tomlkit(value: Any) -> Any:
    if isinstance(value, dict):
        table = tomlkit.inline_table()
        table.update(value)
        return table
    if isinstance(value, list) and value:
        array = tomlkit.array()
        array.extend(_tomlkit(v) for v in value)
        return array.multiline(len(value) > 1)
    return value


def _absolute(config: RunConfig) -> RunConfig:
    def fixed(path: str | None) -> str | None:
        return None if path is None else str(Path(path).expanduser().absolute())

    model = config.model.model_copy(update={"path": fixed(config.model.path)})
    data = config.data.model_copy(update={"folder": fixed(config.data.folder)})
    update = {"model": model, "data": data}
    if config.lora.start_from is not None:
        update["lora"] = config.lora.model_copy(update={"start_from": fixed(config.lora.start_from)})
    return config.model_copy(update=update)


def _toml_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return parse_value(text)


def _explain(error: Any) -> str:
    where = ".".join(str(part) for part in error["loc"]) or "run"
    match error["type"]:
        case "extra_forbidden":
            return str(unknown(where, error["loc"][-1], _fields_at(error["loc"][:-1])))
        case "missing":
            return f"{where} is missing."
        case "value_error":
            return f"{where}: {error['ctx']['error']}"
        case "literal_error":
            return f"{where} is {error['input']!r}; allowed: {error['ctx']['expected']}."
        case _:
            return f"{where} is {error['input']!r}: {error['msg'][0].lower()}{error['msg'][1:]}."


def _fields_at(loc: tuple[Any, ...]) -> list[str]:
    model: type[BaseModel] = RunConfig
    for part in loc:
        annotation = model.model_fields[part].annotation
        model = next(t for t in (annotation, *get_args(annotation)) if isinstance(t, type) and issubclass(t, BaseModel))
    return list(model.model_fields)


def _reason(error: Exception) -> str:
    return error.strerror or str(error) if isinstance(error, OSError) else str(error)
