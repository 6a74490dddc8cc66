"""Parameters of registered functions: types, bounds and examples, read from annotations."""

from __future__ import annotations

import inspect
import math
import types
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Protocol, Union, get_args, get_origin, runtime_checkable

from annotated_types import Ge, Gt, Le, Lt

from snrlab.core.errors import UserError, unknown

_WORDS = {"true": True, "false": False, "none": None}


@runtime_checkable
class TextParameter(Protocol):
    """Marker in `Annotated[str, ...]` that checks a text and normalises it."""

    example: str

    def check(self, value: str) -> str:
        """The text with the content of files inlined, so that it means the same elsewhere; UserError if invalid."""
        ...


@dataclass(frozen=True)
class Parameter:
    """One keyword-only argument of a registered function: type, bounds and default."""

    name: str
    types: tuple[type, ...]
    bounds: tuple[Any, ...] = ()
    choices: tuple[str, ...] = ()
    optional: bool = False
    default: Any = inspect.Parameter.empty
    annotation: Any = None

    @classmethod
    def of(cls, name: str, annotation: Any, default: Any) -> Parameter:
        """Read an annotation such as `Annotated[float, Gt(0)]`, `float | None` or `Literal[...]`."""
        bounds: list[Any] = []
        plain_types: list[type] = []
        choices: tuple[str, ...] = ()
        optional = False
        pending = [annotation]
        while pending:
            item = pending.pop()
            origin = get_origin(item)
            if origin is Annotated:
                base, *extras = get_args(item)
                pending.append(base)
                bounds += extras
            elif origin in (Union, types.UnionType):
                pending += get_args(item)
            elif origin is Literal:
                choices, plain_types = get_args(item), [*plain_types, str]
            elif item is type(None):
                optional = True
            else:
                plain_types.append(item)
        return cls(name, tuple(plain_types), tuple(bounds), choices, optional, default, annotation)

    @property
    def required(self) -> bool:
        """Whether there is no default."""
        return self.default is inspect.Parameter.empty

    @property
    def example(self) -> Any:
        """An allowed value: the default, or the example of the marker."""
        if not self.required:
            return self.default
        return next(b.example for b in self.bounds if isinstance(b, TextParameter))

    @property
    def allowed(self) -> str:
        """The allowed values, described for messages.

        >>> Parameter("gamma", (float,), (Gt(0), Le(10))).allowed
        'a number > 0 and <= 10'
        """
        if self.choices:
            return "one of " + ", ".join(self.choices)
        kind = {float: "a number", int: "a whole number", bool: "true or false", str: "text"}[self.types[0]]
        signs = {Gt: (">", "gt"), Ge: (">=", "ge"), Lt: ("<", "lt"), Le: ("<=", "le")}
        parts = [f"{signs[type(b)][0]} {getattr(b, signs[type(b)][1])}" for b in self.bounds if type(b) in signs]
        return " ".join([kind, " and ".join(parts)]).strip() + (" or none" if self.optional else "")

    def check(self, value: Any, *, where: str) -> Any:
        """The value, converted to the type of the parameter and checked.

        Raises:
            UserError: wrong type, not finite, or out of bounds; the message names `where`, value and range.
        """
        if value is None and self.optional:
            return None
        if self.choices:
            if value not in self.choices:
                raise unknown(where, value, self.choices)
            return value
        kind: Any = self.types[0]
        if kind is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if type(value) is not kind or (kind is float and not math.isfinite(value)):
            raise self._refusal(value, where, code="not-a-number" if kind in (int, float) else "wrong-type")
        for bound in self.bounds:
            if isinstance(bound, TextParameter):
                value = bound.check(value)
            elif not _within(value, bound):
                raise self._refusal(value, where, code="out-of-range")
        return value

    def _refusal(self, value: Any, where: str, *, code: str) -> UserError:
        return UserError(f"{where} is {value!r}; it must be {self.allowed}.", code=code)


def parse_value(text: str) -> Any:
    """Parse a value from the command line: whole number, number, true, false, none or text.

    >>> [parse_value(v) for v in ("5", "0.5", "true", "none", "-5/0.2;0/1")]
    [5, 0.5, True, None, '-5/0.2;0/1']
    """
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _within(value: Any, bound: Any) -> bool:
    match bound:
        case Gt(gt=limit):
            return bool(value > limit)
        case Ge(ge=limit):
            return bool(value >= limit)
        case Lt(lt=limit):
            return bool(value < limit)
        case Le(le=limit):
            return bool(value <= limit)
    raise TypeError(f"unsupported bound {bound!r}")
