"""The gate: every registry entry, public symbol, command and run-file field is on a page of the built site."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import snrlab
from documentation import api, commands, reference
from documentation.problems import Problems
from snrlab.config.run import RunConfig
from snrlab.core.registries.registry import Entry, Registry
from snrlab.core.registries.tensor_registries import OPTIMIZERS


def registries() -> dict[str, Registry]:
    """The registries of the package, by name."""
    return {name: r for name in snrlab.__all__ if isinstance(r := getattr(snrlab, name), Registry)}


def check(site: Path, problems: Problems) -> None:
    """Note what is missing in a built site."""
    strategies = {r.kind: reference.kind_page(r.kind).removesuffix(".md") for r in registries().values()}
    wanted: dict[str, Iterable[str]] = {
        **{strategies[r.kind]: [reference.anchor(e) for e in r.values()] for r in registries().values()},
        "python": api.wanted(),
        "commands": [commands.anchor(name) for name in commands.commands()],
    }
    for page, anchors in wanted.items():
        have = set(_anchors(site / f"{page}.html"))
        for anchor in anchors:
            if anchor not in have:
                problems.add(f"{page}.html", f"{anchor} is missing")
    for entry in (e for r in registries().values() for e in r.values()):
        for lack in lacks(entry):
            problems.add(f"{entry.kind} {entry.name}", lack)
    for symbol in undocumented():
        problems.add("python.html", f"{symbol} has no docstring")
    fields = (site / "run-file.html").read_text(encoding="utf-8")
    for name, field in RunConfig.model_fields.items():
        section = reference.section_of(field)
        for key in section.model_fields if section else [name]:
            if f"<code>{key}</code>" not in fields:
                problems.add("run-file.html", f"{name}.{key} is missing")


def lacks(entry: Entry) -> Iterator[str]:
    """What an entry does not say of itself."""
    if not entry.formula and entry.kind != OPTIMIZERS.kind:  # an optimizer is a program, not a formula
        yield 'it has no formula: register(..., formula="w_x0 = min(S, gamma)")'
    if not entry.paper:
        yield "it names no source"
    if not any(line.startswith(">>>") for line in (entry.fn.__doc__ or "").replace(" ", "").splitlines()):
        yield "its docstring has no example"


def undocumented() -> Iterator[str]:
    """Public symbols without a docstring."""
    for name in snrlab.__all__:
        if not (getattr(snrlab, name).__doc__ or "").strip():
            yield f"snrlab.{name}"
    for module in api.modules():
        for name, member in api.defined(module).items():
            if not (member.__doc__ or "").strip():
                yield f"{module.__name__}.{name}"


def _anchors(page: Path) -> list[str]:
    return re.findall(r'\bid="([^"]+)"', page.read_text(encoding="utf-8")) if page.is_file() else []
