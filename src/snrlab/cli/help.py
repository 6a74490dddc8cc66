"""How `--help` lists options: flags without a type, and one line for shell completion."""

from __future__ import annotations

from typing import Any

from typer.core import TyperCommand, TyperGroup

_INSTALL, _SHOW = "--install-completion", "--show-completion"


class Command(TyperCommand):
    """A command whose flags have no type in `--help`."""

    def get_params(self, ctx: Any) -> list[Any]:
        """The parameters, ready for `--help`."""
        return _for_help(super().get_params(ctx))


class CommandGroup(TyperGroup):
    """The program, whose flags have no type in `--help`."""

    def get_params(self, ctx: Any) -> list[Any]:
        """The parameters, ready for `--help`."""
        return _for_help(super().get_params(ctx))


def _for_help(parameters: list[Any]) -> list[Any]:
    for parameter in parameters:
        if getattr(parameter, "is_flag", False):
            parameter.metavar = ""
        if _INSTALL in parameter.opts:
            parameter.help = "Complete commands and options with the Tab key, from the next shell on."
        parameter.hidden = getattr(parameter, "hidden", False) or _SHOW in parameter.opts
    return parameters
