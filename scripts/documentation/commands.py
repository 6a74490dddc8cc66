"""The reference of the command line, from the commands themselves."""

from __future__ import annotations

import re
from typing import Any

import typer.main

from snrlab.cli import app


def commands() -> dict[str, Any]:
    """The commands by their full name, such as `snrlab plot`."""
    program = typer.main.get_command(app)
    context = program.make_context("snrlab", [], resilient_parsing=True)
    return {f"snrlab {name}": program.get_command(context, name) for name in program.list_commands(context)}


def page() -> str:
    """Markdown of the whole reference."""
    parts = ["# Command line", "", "What `snrlab COMMAND --help` says of each command. A mistake is one message and "
             "exit code 2.", ""]  # fmt: skip
    for name, command in commands().items():
        parts += [f"## `{name}` {{ #{anchor(name)} }}", "", *_words(command.help), ""]
        arguments = [p for p in command.params if p.param_type_name == "argument"]
        options = [p for p in command.params if p.param_type_name == "option" and "--help" not in p.opts]
        parts += ["```text", " ".join([name, *(_usage(a) for a in arguments), *(["[OPTIONS]"] if options else [])]),
                  "```", ""]  # fmt: skip
        if [*arguments, *options]:
            parts += [
                "| option | default | what it does |",
                "|---|---|---|",
                *(_row(p) for p in (*arguments, *options)),
                "",
            ]
    return "\n".join(parts)


def anchor(name: str) -> str:
    """What links to a command end with.

    >>> anchor("snrlab plot")
    'snrlab-plot'
    """
    return name.replace(" ", "-")


def _words(text: str | None) -> list[str]:
    """Help as Markdown: an example becomes code."""
    words, separator, example = (text or "").partition("Example: ")
    lines = [_cell(words.strip())]
    return [*lines, "", "```text", " ".join(example.split()), "```"] if separator else lines


def _usage(argument: Any) -> str:
    name = (argument.metavar or argument.name).upper().strip("[].")
    name += "..." if argument.nargs == -1 else ""
    return name if argument.required else f"[{name}]"


def _row(parameter: Any) -> str:
    names = ", ".join(f"`{o}`" for o in (*parameter.opts, *parameter.secondary_opts))
    if parameter.param_type_name == "argument":
        names = f"`{_usage(parameter)}`"
    shown = parameter.show_default if isinstance(getattr(parameter, "show_default", None), str) else parameter.default
    default = "required" if parameter.required else "" if shown in (None, False, (), []) else f"`{shown}`"
    return f"| {names} | {default} | {_cell(parameter.help or '')} |"


def _cell(text: str) -> str:
    words = re.sub(
        r"\b\w+\([\w, ]{2,}\)|\b[A-Za-z0-9]*_\w+(?:[=:][\w=.]+)?", lambda m: f"`{m[0]}`", " ".join(text.split())
    )
    return words.replace("|", "\\|").replace("<", "&lt;")
