"""Options that take one of a few words: one check with the nearest spelling, and the lists that commands share."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import typer

from snrlab.core.errors import unknown

TEXT_OR_JSON = ("text", "json")
DOCUMENTS = (*TEXT_OR_JSON, "md", "html")  # what explain and compare write
PRECISIONS = ("fp32", "fp16", "bf16")


def one_of(
    allowed: Iterable[str] | Callable[[], Iterable[str]], *names: str, help: str, show_default: str | bool = True
) -> Any:
    """A typer option that takes one of the allowed words, or where its default is None, none.

    Args:
        allowed: the words; a function of none where to list them takes an import.
        names: of the option; by default that of the parameter.
        help: what it is.
        show_default: False, or words for a default that is worked out.
    """

    def check(parameter: typer.CallbackParam, value: str | None) -> str | None:
        words = list(allowed() if callable(allowed) else allowed)
        if value is not None and value not in words:
            raise unknown(str(parameter.opts[0]), value, words)
        return value

    metavar = None if callable(allowed) else "|".join(allowed)
    return typer.Option(*names, help=help, show_default=show_default, metavar=metavar, callback=check)
