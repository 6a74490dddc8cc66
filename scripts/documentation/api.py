"""The reference of public symbols: `snrlab.__all__`, and what each module of `snrlab.core` defines."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from types import ModuleType
from typing import Any

import snrlab
from snrlab import core
from snrlab.core.registries.registry import Registry

NOTE = "From the docstrings of the code that is installed. `snrlab.core` needs numpy and nothing else."
WIDTH = 80  # of a signature on one line
SECTION = re.compile(r"^(Args|Attributes|Returns|Raises|Yields):$")


def page() -> str:
    """Markdown of the whole reference."""
    parts = ["# Python reference", "", NOTE, "", "## `snrlab` { #snrlab }", "", *docstring(snrlab), ""]
    for name in snrlab.__all__:
        value = getattr(snrlab, name)
        parts += registry(name, value) if isinstance(value, Registry) else symbol(name, value, f"snrlab.{name}")
    for module in modules():
        parts += [f"## `{module.__name__}` {{ #{module.__name__} }}", "", *docstring(module), ""]
        for name, value in defined(module).items():
            if getattr(snrlab, name, None) is value and name in snrlab.__all__:
                parts += [f"`{name}`: [above](#snrlab.{name}).", ""]
            else:
                parts += symbol(name, value, f"{module.__name__}.{name}")
    return "\n".join(parts)


def modules() -> list[ModuleType]:
    """The modules of the core, by name."""
    names = sorted(m.name for m in pkgutil.iter_modules(core.__path__))
    return [importlib.import_module(f"snrlab.core.{name}") for name in names]


def defined(module: ModuleType) -> dict[str, Any]:
    """The public functions and classes that a module defines, in its order; entries of registries have their page."""
    public = {
        name: member
        for name, member in vars(module).items()
        if not name.startswith("_")
        and (inspect.isfunction(member) or inspect.isclass(member))
        and member.__module__ == module.__name__
        and not _is_entry(member)
    }
    return dict(sorted(public.items(), key=lambda pair: inspect.getsourcelines(pair[1])[1]))


def wanted() -> list[str]:
    """The anchors that the page must have, one for each public symbol."""
    anchors = [f"snrlab.{name}" for name in snrlab.__all__]
    for module in modules():
        public = {n: f for n, f in defined(module).items() if getattr(snrlab, n, None) is not f}
        anchors += [module.__name__, *(f"{module.__name__}.{name}" for name in public)]
    return anchors


def registry(name: str, table: Registry) -> list[str]:
    """A registry: what it lists."""
    kind = table.kind.replace("_", "-")
    items = ", ".join(f"[`{e}`](strategies/{kind}.md#{kind}-{e.replace('_', '-')})" for e in table)
    return [f"### `{name}` {{ #snrlab.{name} }}", "", f"The registry of every {table.kind.replace('_', ' ')}: {items}.",
            ""]  # fmt: skip


def symbol(name: str, documented: Any, anchor: str) -> list[str]:
    """A function, or a class with its public methods."""
    lines = [f"### `{name}` {{ #{anchor} }}", "", "```python", f"{name}{_signature(documented)}", "```", ""]
    lines += [*docstring(documented), ""]
    if inspect.isclass(documented):
        for member_name, member in vars(documented).items():
            method = member.fget if isinstance(member, property) else getattr(member, "func", member)
            if member_name.startswith("_") or not (inspect.isfunction(method) or isinstance(method, classmethod)):
                continue
            method = method.__func__ if isinstance(method, classmethod) else method
            kind = "" if member is method or isinstance(member, classmethod) else " (attribute)"
            shown = "" if kind else _signature(method)
            lines += [f"**`{member_name}{shown}`**{kind}", "", *docstring(method), ""]
    return lines


def docstring(documented: Any) -> list[str]:
    """A Google docstring as Markdown."""
    lines: list[str] = []
    code = item = False
    for line in (inspect.getdoc(documented) or "").splitlines():
        indented = line.startswith("    ")
        if line.startswith(">>>") and not code:
            lines += ["", "```python"]
            code = True
        elif code and not line.strip():
            lines.append("```")
            code = False
        heading = SECTION.match(line)
        if code:
            lines.append(line)
        elif heading:
            lines += [f"*{heading[1]}*", ""]
            item = True
        elif item and indented:
            name, colon, meaning = line.strip().partition(": ")
            fresh = colon and not line.startswith("     ") and re.fullmatch(r"[\w, `*]+", name)
            if fresh:
                lines.append(f"- `{name}`: {_safe(meaning)}")
            else:
                lines.append(("  " if lines and lines[-1].startswith(("- ", "  ")) else "") + _safe(line.strip()))
        else:
            item = item and not line.strip()
            lines.append(line if indented else _safe(line))
    return [*lines, "```"] if code else lines


def _is_entry(candidate: Any) -> bool:
    return any(candidate is e.fn for r in vars(snrlab).values() if isinstance(r, Registry) for e in r.values())


def _safe(line: str) -> str:
    parts = line.split("`")
    return "`".join(re.sub(r"([*_<])", r"\\\1", p) if i % 2 == 0 else p for i, p in enumerate(parts))


def _signature(documented: Any) -> str:
    try:
        text = str(inspect.signature(documented))
    except (TypeError, ValueError):
        return ""
    text = re.sub(r"<factory>|<[^>]*object at[^>]*>", "...", text)
    text = re.sub(r"(: |-> )'([^']*)'", r"\1\2", text)
    if len(text) <= WIDTH:
        return text
    inside, _, back = text[1:].rpartition(")")
    arguments = re.split(r", (?![^\[(]*[\])])", inside)
    return "(\n    " + ",\n    ".join(arguments) + f",\n){back}"
