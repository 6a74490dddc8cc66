"""The program as a group of commands that are imported when asked for, and how `--help` lists options."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, ClassVar, Literal

import typer
from typer.core import TyperCommand, TyperGroup

from snrlab.cli.messages import with_verbosity

MARKUP: Literal["markdown"] = "markdown"  # of all help
_INSTALL, _SHOW = "--install-completion", "--show-completion"


@dataclass(frozen=True)
class CommandPlace:
    """Where a command is.

    Attributes:
        panel: heading that it stands under in the help.
        module: that has the function `NAME_command`.
        answers: whether it prints its answer and nothing else.
    """

    panel: str
    module: str
    answers: bool = False

    def load(self, name: str) -> Any:
        """The command of this name, imported."""
        function = getattr(import_module(self.module), f"{name}_command")
        alone = typer.Typer(add_completion=False, rich_markup_mode=MARKUP, pretty_exceptions_enable=False)
        alone.command(name, cls=Command, rich_help_panel=self.panel)(
            function if self.answers else with_verbosity(function)
        )
        return typer.main.get_command(alone)


class Command(TyperCommand):
    """A command whose flags have no type in `--help`."""

    def get_params(self, ctx: Any) -> list[Any]:
        """The parameters, ready for `--help`."""
        return _for_help(super().get_params(ctx))


class CommandGroup(TyperGroup):
    """A program of the commands in `places`, whose flags have no type in `--help`."""

    places: ClassVar[Mapping[str, CommandPlace]] = {}

    def get_params(self, ctx: Any) -> list[Any]:
        """The parameters, ready for `--help`."""
        return _for_help(super().get_params(ctx))

    def list_commands(self, ctx: Any) -> list[str]:
        """The names of the commands, in their order."""
        return list(self.places)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of a name, imported; None where there is none."""
        if cmd_name not in self.commands and cmd_name in self.places:
            self.commands[cmd_name] = self.places[cmd_name].load(cmd_name)
        return self.commands.get(cmd_name)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that the words begin with; for a wrong name, the nearest is looked for among all."""
        if args[0] not in self.places:
            for name in self.places:
                self.get_command(ctx, name)
        return super().resolve_command(ctx, args)


def _for_help(parameters: list[Any]) -> list[Any]:
    for parameter in parameters:
        if getattr(parameter, "is_flag", False):
            parameter.metavar = ""
        if _INSTALL in parameter.opts:
            parameter.help = "Complete commands and options with the Tab key, from the next shell on."
        parameter.hidden = getattr(parameter, "hidden", False) or _SHOW in parameter.opts
    return parameters
