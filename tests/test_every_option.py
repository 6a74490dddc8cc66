"""Every field of the run file has a test that shows what it changes."""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

from pydantic import BaseModel

from snrlab.config.run import RunConfig


def fields(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for name, field in model.model_fields.items():
        below = [t for t in nested(field.annotation) if issubclass(t, BaseModel)]
        if below:
            yield from fields(below[0], f"{prefix}{name}.")
        else:
            yield prefix + name


def nested(annotation: object) -> list[type]:
    """The classes in an annotation such as `list[X] | None`."""
    if isinstance(annotation, type) and not get_args(annotation):
        return [annotation]
    return [inner for part in get_args(annotation) for inner in nested(part)]


def shown() -> dict[str, str]:
    by_option = {}
    for file in Path(__file__).parent.rglob("test_*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.FunctionDef):
                for mark in node.decorator_list:
                    if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "shows":
                        by_option |= {ast.literal_eval(a): f"{file.name}::{node.name}" for a in mark.args}
    return by_option


def test_each_has_a_test_of_its_effect():
    assert sorted(set(fields(RunConfig)) - set(shown())) == []


def test_each_shown_option_exists():
    assert sorted(set(shown()) - set(fields(RunConfig))) == []
