"""Options that take one word of a list: the check, which names the nearest spelling, and lists that commands share."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import typer

from snrlab.core.errors import unknown
from snrlab.core.registries.samplers import NAMES_IN_SHORT, sampler_named

TEXT_OR_JSON = ("text", "json")
DOCUMENTS = (*TEXT_OR_JSON, "md", "html")  # the formats of explain and compare
PRECISIONS = ("fp32", "fp16", "bf16")


def one_of(
    allowed: Iterable[str] | Callable[[], Iterable[str]], *names: str, help: str, show_default: str | bool = True
) -> Any:
    """A typer option that takes one of the allowed words; None passes, as the default of an optional one.

    Args:
        allowed: the words, or a function that lists them if that takes an import.
        names: names of the option; by default that of the parameter.
        help: help text of the option.
        show_default: False, or a description of a default that is computed.
    """

    def check(parameter: typer.CallbackParam, value: str | None) -> str | None:
        words = list(allowed() if callable(allowed) else allowed)
        if value is not None and value not in words:
            raise unknown(str(parameter.opts[0]), value, words)
        return value

    metavar = None if callable(allowed) else "|".join(allowed)
    return typer.Option(*names, help=help, show_default=show_default, metavar=metavar, callback=check)


def sampler_option() -> Any:
    """The typer option --sampler, whose value becomes the name of a sampler in SAMPLERS."""

    def check(parameter: typer.CallbackParam, value: str) -> str:
        return sampler_named(value, str(parameter.opts[0])).name

    return typer.Option(help=f"Sampler: {NAMES_IN_SHORT}", metavar="NAME", callback=check)
