"""Optimizers named by class path, with arguments as text: kohya's optimizer_type and optimizer_args."""

from __future__ import annotations

import ast
import importlib
import re
from typing import Any

from snrlab.core.errors import UserError


class ClassPath:
    """Check of a text that names a class, `module:Class`."""

    example = "torch.optim:SGD"

    def check(self, value: str) -> str:
        """The path, unchanged; UserError if it is not of this form."""
        if not re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*", value):
            raise UserError(f"path is '{value}'; write module:Class, such as {self.example}.", code="invalid-syntax")
        return value


class Arguments:
    """Check of a text of arguments, `name=value, ...`, with Python literals as values."""

    example = ""

    def check(self, value: str) -> str:
        """The text, unchanged; UserError if it cannot be parsed."""
        read_optimizer_arguments(value)
        return value


def read_optimizer_arguments(text: str) -> dict[str, Any]:
    """Parse arguments into values by name; values are literals, no code is run.

    >>> read_optimizer_arguments("betas=(0.9, 0.99), nesterov=True")
    {'betas': (0.9, 0.99), 'nesterov': True}
    """
    error = UserError(
        f"args is '{text}'; write name=value, ... with numbers, True, False, None, texts or (a, b).",
        code="invalid-syntax",
    )
    try:
        call = ast.parse(f"f({text})", mode="eval").body
        if (
            not isinstance(call, ast.Call)
            or not isinstance(call.func, ast.Name)
            or call.args
            or not all(k.arg for k in call.keywords)
        ):
            raise error
        return {str(keyword.arg): ast.literal_eval(keyword.value) for keyword in call.keywords}
    except (SyntaxError, ValueError):
        raise error from None


def load_class(path: str) -> Any:
    """Import the class that `module:Class` names.

    Raises:
        UserError: there is no such module or class.
    """
    module, _, name = path.partition(":")
    try:
        return getattr(importlib.import_module(module), name)
    except ImportError as reason:
        raise UserError(
            f"train.optimizer: {path}: the module does not load ({reason}).", code="package-error"
        ) from None
    except AttributeError:
        raise UserError(f"train.optimizer: {path}: {module} has no {name}.", code="package-error") from None
