"""Registries of plain functions: the one list behind config, command line, plots, docs and tests.

A strategy (a weighting, a schedule, ...) is a function. Its keyword-only arguments are its
parameters, their `Annotated` bounds are the allowed ranges, its docstring's first line is its
summary. Registering it is all that is needed to make it appear everywhere:

    @WEIGHTINGS.register(paper="arXiv:2303.09556")
    def min_snr(log_snr, *, gamma: Annotated[float, Gt(0), Le(1000)] = 5.0):
        ...

Besides its function a strategy has properties: fields of a frozen dataclass defined next to the registry
(`WeightingProperties`). `register` takes them by name, and refuses an unknown one.

Other packages add theirs the same way; a module named under the entry-point group
`snrlab.strategies` is loaded automatically.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, dataclass, field, fields
from functools import cached_property
from importlib import metadata
from types import MappingProxyType, SimpleNamespace, UnionType
from typing import Any, Generic, Literal, Union, get_args, get_origin, get_type_hints

from typing_extensions import TypeVar

from snrlab.core.errors import UnknownNameError, UserError, unknown
from snrlab.core.registries.aliases import canonical
from snrlab.core.registries.parameters import Parameter, parse_value

ENTRY_POINT_GROUP = "snrlab.strategies"
LIST_COMMAND = "snrlab table --list"  # lists the entries of every registry that a recipe is made of


class UnknownEntryError(UnknownNameError, KeyError):
    """No entry of that name: a UserError that is also the `KeyError` that a mapping raises."""

    __str__ = Exception.__str__  # KeyError.__str__ would put the message in quotes


@dataclass(frozen=True)
class Properties:
    """Properties of an entry besides its function; each kind of entry adds fields in a subclass."""


@dataclass(frozen=True)
class KohyaProperties(Properties):
    """Properties of an entry that kohya's LoRA metadata can record.

    Attributes:
        kohya: metadata keys to the name of the parameter that each holds, or to True for a switch.
    """

    kohya: Mapping[str, str | Literal[True]] = field(default_factory=dict)


P = TypeVar("P", bound=Properties, default=Properties, covariant=True)


@dataclass(frozen=True, eq=False)
class Entry(Generic[P]):
    """One registered function, with what is derived from it."""

    kind: str
    name: str
    fn: Callable[..., Any]
    paper: str
    formula: str
    properties: P

    @property
    def summary(self) -> str:
        """First line of the docstring of the function."""
        return (inspect.getdoc(self.fn) or "").split("\n", 1)[0]

    @cached_property
    def parameters(self) -> Mapping[str, Parameter]:
        """The keyword-only arguments by name, in the order of the signature."""
        arguments = [p for p in inspect.signature(self.fn).parameters.values() if p.kind is p.KEYWORD_ONLY]
        # only these annotations are evaluated: the others may name types that are not imported
        annotations = SimpleNamespace(__annotations__={p.name: p.annotation for p in arguments})
        hints = get_type_hints(annotations, self.fn.__globals__, include_extras=True)
        return MappingProxyType({p.name: Parameter.of(p.name, hints[p.name], p.default) for p in arguments})

    def bind(self, **params: Any) -> Choice[P]:
        """This entry bound to parameter values; those not given take their defaults.

        Raises:
            UserError: an unknown parameter, or a value of the wrong type or out of bounds.
        """
        where = f"{self.kind} {self.name}"
        for name in params:
            if name not in self.parameters:
                raise unknown(f"{where}: parameter", name, self.parameters or ["(it has none)"])
        values = []
        for name, parameter in self.parameters.items():
            if name not in params and parameter.required:
                raise UserError(
                    f"{where}: '{name}' is missing; for example {name}={parameter.example}.", code="missing-value"
                )
            value = parameter.check(params.get(name, parameter.default), where=f"{where}: {name}")
            values.append((name, value))
        return Choice(self, tuple(values))


@dataclass(frozen=True)
class Choice(Generic[P]):
    """An entry bound to parameter values, as recipes hold it."""

    entry: Entry[P]
    values: tuple[tuple[str, Any], ...] = ()

    @property
    def name(self) -> str:
        """Name of the entry."""
        return self.entry.name

    @property
    def params(self) -> dict[str, Any]:
        """Parameter values by name, defaults filled in."""
        return dict(self.values)

    @property
    def spec(self) -> str:
        """The choice as text that `Registry.parse` reads back, such as `min_snr:gamma=5`."""
        params = ",".join(f"{k}={_format_value(v)}" for k, v in self.values)
        return f"{self.name}:{params}" if params else self.name

    def __call__(self, *args: Any) -> Any:
        """Call the function with these positional arguments and the bound parameters."""
        return self.entry.fn(*args, **self.params)


class Registry(Mapping[str, Entry[P]], Generic[P]):
    """Entries of one kind by name, in the order of registration."""

    __eq__ = object.__eq__  # registries are compared by identity, not by contents
    __hash__ = object.__hash__

    def __init__(self, kind: str, *, properties: type[P]) -> None:
        """Create an empty registry; `kind` names it in messages, `properties` is the class for its entries."""
        self.kind = kind
        self.properties = properties
        self._entries: dict[str, Entry[P]] = {}

    def register(
        self, *, paper: str, name: str | None = None, formula: str = "", **properties: Any
    ) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """Decorator that registers a function, by default under its own name, and returns it unchanged.

        Args:
            paper: source of the formula (arXiv id, or repository and file for a peer's).
            name: name of the entry where the function has another one.
            formula: the formula as `left = right` in Python's notation (`w_x0 = min(S, gamma)`), clauses separated by
                semicolons; a test evaluates it, and the documentation typesets it.
            properties: fields of the registry's properties that differ from the defaults.

        Raises:
            ValueError: the name is taken, or the function has no docstring.
            TypeError: a property is unknown, missing, or of the wrong type.
        """

        def add(fn: Callable[..., Any]) -> Callable[..., Any]:
            entry_name = name or fn.__name__
            checked = _check_properties(self.properties, properties, where=f"{self.kind} {entry_name}")
            entry = Entry(self.kind, entry_name, fn, paper, formula, checked)
            if entry.name in self._entries:
                raise ValueError(f"{self.kind}: '{entry.name}' is registered twice")
            if not entry.summary:
                raise ValueError(f"{self.kind}: '{entry.name}' has no docstring")
            self._entries[entry.name] = entry
            return fn

        return add

    def __getitem__(self, name: str) -> Entry[P]:
        """The entry of that name.

        Raises:
            UnknownEntryError: no such name; the message lists the entries.
        """
        try:
            return self._entries[name]
        except (KeyError, TypeError):
            reason = unknown(self.kind, name, self._entries, listed_by=LIST_COMMAND)
            raise UnknownEntryError(str(reason), reason.guess) from None

    def __contains__(self, name: object) -> bool:
        """Whether there is an entry of that name."""
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        """Names in the order of registration."""
        return iter(self._entries)

    def __len__(self) -> int:
        """Number of entries."""
        return len(self._entries)

    def named(self, name: str) -> Entry[P]:
        """The entry of that name, or of which the name is another spelling, such as `minsnr`.

        Raises:
            UnknownEntryError: no such name.
        """
        return self[canonical(name, self._entries) or name]

    def bind(self, name: str, **params: Any) -> Choice[P]:
        """The named entry bound to parameter values; other spellings are accepted."""
        return self.named(name).bind(**params)

    def parse(self, spec: str) -> Choice[P]:
        """Parse `NAME[:k=v,...]`, the command line's form of a choice.

        Raises:
            UserError: malformed text, unknown name or parameter, value out of bounds.
        """
        name, _, rest = spec.partition(":")
        entry = self.named(name.strip())
        params: dict[str, Any] = {}
        for item in filter(None, (part.strip() for part in rest.split(","))):
            key, equals, text = item.partition("=")
            if not equals:
                raise UserError(f"{self.kind} '{spec}': '{item}' is not of the form name=value.", code="invalid-syntax")
            if key.strip() in params:
                raise UserError(f"{self.kind} '{spec}': '{key.strip()}' is given twice.", code="stated-twice")
            params[key.strip()] = parse_value(text.strip())
        return entry.bind(**params)


def load_plugins() -> None:
    """Import every module that registers strategies through an entry point.

    Raises:
        UserError: a plug-in cannot be imported; the message names it and the reason.
    """
    for point in metadata.entry_points(group=ENTRY_POINT_GROUP):
        try:
            point.load()
        except Exception as reason:
            raise UserError(
                f"the plug-in '{point.name}' ({point.value}) does not load: {reason}", code="package-error"
            ) from reason


def _check_properties(kind: type[P], values: Mapping[str, Any], *, where: str) -> P:
    """The properties of an entry from keyword values; `TypeError` if one is unknown, missing or of the wrong type."""
    types = get_type_hints(kind)
    for name, value in values.items():
        if name not in types:
            raise TypeError(str(unknown(f"{where}: property", name, types or ["(it has none)"])))
        if not _is_of_type(value, types[name]):
            wanted = inspect.formatannotation(types[name])
            raise TypeError(f"{where}: property {name} is {value!r}; it must be of type {wanted}.")
    for declared in fields(kind):
        if declared.name not in values and declared.default is MISSING and declared.default_factory is MISSING:
            raise TypeError(f"{where}: property '{declared.name}' is missing.")
    return kind(**values)


def _is_of_type(value: Any, wanted: Any) -> bool:
    """Whether a value has an annotated type; of a function only whether it is callable."""
    origin, inner = get_origin(wanted), get_args(wanted)
    if origin in (Union, UnionType):
        return any(_is_of_type(value, one) for one in inner)
    if origin is Literal:
        return any(type(value) is type(one) and value == one for one in inner)
    if origin is Callable:
        return callable(value)
    if origin is Mapping:
        key, item = inner
        return isinstance(value, Mapping) and all(
            _is_of_type(k, key) and _is_of_type(v, item) for k, v in value.items()
        )
    return isinstance(value, wanted) and (wanted is bool or not isinstance(value, bool))


def _format_value(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.12g}" if isinstance(value, float) else str(value)
