"""Reading and writing run files; errors name the field, the value and what is allowed."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, TypeVar, get_args

import tomlkit
from pydantic import BaseModel, ValidationError
from tomlkit.items import Table

from snrlab.config.option_tables.kohya import rename_hint
from snrlab.config.run import RunConfig
from snrlab.config.sections.section import Section
from snrlab.config.wrong_file import INIT_COMMAND, refuse_foreign, refuse_other_kind
from snrlab.core.errors import UserError, one_code, unknown
from snrlab.core.registries.parameters import parse_value
from snrlab.core.regular_file import check_regular_file
from snrlab.files.text import LARGEST_TEXT

MISSING_EXAMPLES = {"model": ': [model] path = "my-model.safetensors"', "data": ': [data] folder = "photos"'}
TABLE_LISTS = ("sets", "stages")  # fields that hold lists of tables


def read_run(path: Path, overrides: list[str] | None = None) -> RunConfig:
    """Read a run file and apply `section.key=value` overrides.

    Relative paths are made absolute from the current folder, so that the resolved file means the same
    elsewhere.

    Raises:
        UserError: the file cannot be read, is not TOML, or is not a valid run.
    """
    refuse_other_kind(path)
    if not path.exists():
        raise UserError(f"there is no run file {path}. To get one: {INIT_COMMAND}", code="missing-file")
    check_regular_file(path, largest=LARGEST_TEXT)
    try:
        text = path.read_text(encoding="utf-8-sig")  # editors on Windows write a byte-order mark
    except UnicodeDecodeError:
        raise UserError(f"{path}: the run file cannot be read: it is no UTF-8 text.", code="not-utf8") from None
    except OSError as reason:
        raise UserError(f"{path}: the run file cannot be read ({reason.strerror}).", code="unreadable-file") from None
    try:
        data = tomllib.loads(text)
    except (ValueError, RecursionError) as reason:  # ValueError: a number with thousands of digits
        windows = r" A Windows path needs single quotes, as in folder = 'C:\pictures'." if "\\" in text else ""
        raise UserError(f"{path}: not valid TOML: {reason}.{windows}", code="invalid-toml") from None
    refuse_foreign(data, path)
    return parse_run(apply_overrides(data, overrides or []), source=str(path))


def parse_run(data: dict[str, Any], *, source: str = "run") -> RunConfig:
    """Validate a run given as plain data.

    Raises:
        UserError: with all errors, one a line.
    """
    try:
        config = RunConfig.model_validate(data)
    except ValidationError as invalid:
        lines = [schema_error_text(error, RunConfig) for error in invalid.errors()]
        raise UserError(f"{source}: " + "\n".join(lines), code=validation_error_code(invalid)) from None
    return _with_absolute_paths(config)


SectionT = TypeVar("SectionT", bound=BaseModel)


def parse_section(data: dict[str, Any], schema: type[SectionT], name: str) -> SectionT:
    """Validate a single section given as plain data.

    Raises:
        UserError: with all errors, one a line.
    """
    try:
        return schema.model_validate(data)
    except ValidationError as invalid:
        raise UserError(
            "\n".join(_section_error_text(error, schema, name) for error in invalid.errors()),
            code=validation_error_code(invalid),
        ) from None


def _section_error_text(error: Any, schema: type[BaseModel], name: str) -> str:
    """Message for an error in a field of the section, or between its fields."""
    text = schema_error_text(error, schema)
    return f"{name}.{text}" if error["loc"] else f"{name}{text.removeprefix('run')}"


def apply_overrides(data: dict[str, Any], overrides: list[str]) -> dict[str, Any]:
    """Set dotted keys in `data`, such as `train.steps=200` or `recipe.weighting=["min_snr:gamma=5"]`.

    The value is parsed as TOML; if it is not TOML, it is taken as text.

    >>> apply_overrides({}, ["train.steps=200", "name=first"])
    {'train': {'steps': 200}, 'name': 'first'}
    >>> apply_overrides({"train": {"optimizer": "adamw8bit"}}, ["train.optimizer.name=adamw"])
    {'train': {'optimizer': {'name': 'adamw'}}}
    """
    for item in overrides:
        key, equals, text = item.partition("=")
        if not equals or not key.strip():
            raise UserError(f"--set '{item}': write section.key=value, such as train.steps=200.", code="invalid-syntax")
        *sections, last = key.strip().split(".")
        table = data
        for section in sections:
            value = table.setdefault(section, {})
            if last == "name" and isinstance(value, str) and ":" not in value:
                table[section] = {"name": value}  # a strategy by its name alone, such as optimizer = "adamw"
            table = table[section]
            if not isinstance(table, dict):
                raise UserError(f"--set '{item}': '{section}' is not a section.", code="unknown-key")
        table[last] = _parse_toml_value(text.strip())
    return data


def dump(config: RunConfig) -> str:
    """The run as TOML, with the value of every field except those that are None or unused."""
    document = tomlkit.document()
    document.add(tomlkit.comment("The resolved run. `snrlab train` with this file gives the same run again."))
    for name, value in config.model_dump().items():
        if isinstance(value, dict):
            if name == "lora" and config.train.method == "full":
                continue
            ignored = config.data.ignored_options if name == "data" else frozenset()
            document.add(name, _table({key: item for key, item in value.items() if key not in ignored}))
        elif value is not None:
            document.add(name, value)
    return tomlkit.dumps(document)


def _table(values: dict[str, Any]) -> Table:
    """TOML table of the values that are not None; sets of images and stages follow as tables of their own."""
    table = tomlkit.table()
    for key, item in values.items():
        if item is not None and key not in TABLE_LISTS:
            table.add(key, _tomlkit_value(item))
    for key in TABLE_LISTS:
        if values.get(key):
            tables = tomlkit.aot()
            for item in values[key]:
                tables.append(_table(item))
            table.add(key, tables)
    return table


def _tomlkit_value(value: Any) -> Any:
    if isinstance(value, dict):
        table = tomlkit.inline_table()
        table.update(value)
        return table
    if isinstance(value, list) and value:
        array = tomlkit.array()
        array.extend(_tomlkit_value(v) for v in value)
        return array.multiline(len(value) > 1)
    return value


def _with_absolute_paths(config: RunConfig) -> RunConfig:
    def absolute(path: str) -> str:
        return str(Path(path).expanduser().absolute())

    def with_paths(section: Section, *names: str) -> Section:
        paths = {name: absolute(path) for name in names if (path := getattr(section, name)) is not None}
        return section.model_copy(update=paths) if paths else section

    return config.model_copy(
        update={
            "model": with_paths(config.model, "path", "vae"),
            "data": config.data.with_paths(absolute),
            "validation": with_paths(config.validation, "folder"),
            "lora": with_paths(config.lora, "start_from"),
            "sample": config.sample.with_file_read(),
        }
    )


def _parse_toml_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):
        return parse_value(text)


def schema_error_text(error: Any, schema: type[BaseModel]) -> str:
    """Message for one of pydantic's errors, in terms of the run file."""
    where = _format_location(error["loc"]) or "run"
    match error["type"]:
        case "extra_forbidden":
            name, fields = error["loc"][-1], _fields_at(error["loc"][:-1], schema)
            kohya_hint = rename_hint(str(name))
            section = _section_of(str(name), schema) if len(error["loc"]) == 1 else None
            if section and not kohya_hint:
                return f"{where}: it belongs in a section: {section}.{name}."
            return f"{where}: {kohya_hint}." if kohya_hint else str(unknown(where, name, fields))
        case "missing":
            return f"{where} is missing{MISSING_EXAMPLES.get(where, '')}."
        case "value_error":
            return f"{where}: {error['ctx']['error']}"
        case "literal_error":
            return f"{where} is {error['input']!r}; allowed: {error['ctx']['expected']}."
        case _:
            return f"{where} is {error['input']!r}; {_describe_allowed(error)}."


# pydantic's error type -> code
_CODES = {
    "extra_forbidden": "unknown-key",
    "missing": "missing-value",
    "literal_error": "unknown-name",
    "string_pattern_mismatch": "invalid-syntax",
    **dict.fromkeys(("int_type", "int_from_float", "int_parsing", "float_type", "float_parsing"), "not-a-number"),
    **dict.fromkeys(("greater_than", "greater_than_equal", "less_than", "less_than_equal", "multiple_of",
                     "finite_number", "too_short", "too_long", "string_too_short", "string_too_long"), "out-of-range"),
}  # fmt: skip


def validation_error_code(invalid: ValidationError) -> str:
    """The error code for a failed validation by pydantic."""
    return one_code(_error_code(error) for error in invalid.errors())


def _error_code(error: Any) -> str:
    user_error = user_error_in(error)
    return _CODES.get(error["type"], "wrong-type") if user_error is None else user_error.code


def user_error_in(error: Any) -> UserError | None:
    """The UserError that one of pydantic's errors wraps, or None."""
    inner = error.get("ctx", {}).get("error")
    return inner if isinstance(inner, UserError) else None


def _describe_allowed(error: Any) -> str:
    """Requirement that a value does not meet, for the error types that a run file can cause."""
    limits = error.get("ctx", {})
    match error["type"]:
        case "int_type" | "int_from_float" | "int_parsing":
            return "it must be a whole number"
        case "float_type" | "float_parsing":
            return "it must be a number"
        case "finite_number":
            return "it must be a finite number"
        case "bool_type" | "bool_parsing":
            return "it must be true or false"
        case "string_type":
            return "it must be a text in quotes"
        case "greater_than":
            return f"it must be > {limits['gt']:g}"
        case "greater_than_equal":
            return f"it must be >= {limits['ge']:g}"
        case "less_than":
            return f"it must be < {limits['lt']:g}"
        case "less_than_equal":
            return f"it must be <= {limits['le']:g}"
        case "string_pattern_mismatch" if error["loc"] == ("name",):
            return "it must be of letters a to z, digits, '.', '_' and '-', such as my-style"
        case _:
            return f"{error['msg'][0].lower()}{error['msg'][1:]}"


def _section_of(name: str, schema: type[BaseModel]) -> str | None:
    """The section with a field of this name, if exactly one has it."""
    sections = [section for section in schema.model_fields if name in _section_fields(section, schema)]
    return sections[0] if len(sections) == 1 else None


def _section_fields(section: str, schema: type[BaseModel]) -> list[str]:
    try:
        return _fields_at((section,), schema)
    except StopIteration:  # a plain field, not a section
        return []


def _format_location(loc: tuple[Any, ...]) -> str:
    """Location in the file, such as `data.sets[0].folder`."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in loc).lstrip(".")


def _fields_at(loc: tuple[Any, ...], schema: type[BaseModel]) -> list[str]:
    for part in (p for p in loc if isinstance(p, str)):  # numbers count the tables of a list
        annotation = schema.model_fields[part].annotation
        kinds = (annotation, *get_args(annotation))
        schema = next(t for t in kinds if isinstance(t, type) and issubclass(t, BaseModel))
    return list(schema.model_fields)
