"""Formulas of registry entries: written once in Python's notation, evaluated by a test, typeset by the documentation.

    w_x0 = S*gamma/(S + gamma)
    beta = min(1 - f((t + 1)/T)/f(t/T), max_beta); f(u) = cos(pi/2*(u + offset)/(1 + offset))**2

The first clause is what the entry is; those after it say what stands in it.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

GREEK = ("alpha", "beta", "gamma", "delta", "epsilon", "lambda", "pi", "sigma")
SYMBOLS = {
    "w_x0": "w_{x_0}", "w_v": "w_v", "w_epsilon": r"w_\epsilon", "log_snr": r"\ln S", "max_snr": r"S_{\max}",
    "gamma_t": r"\gamma_t", "gamma_rms": r"\gamma_{\text{rms}}", "c_t": "c_t", "S_before": r"S_{\text{before}}",
    "abar": r"\bar\alpha", "p_s": "p_s",
}  # fmt: skip
FUNCTIONS = {"log": r"\ln", "exp": r"\exp", "cos": r"\cos", "min": r"\min", "max": r"\max"}
KNOWN: Mapping[str, Any] = {
    "sqrt": np.sqrt, "exp": np.exp, "log": np.log, "cos": np.cos, "abs": np.abs, "mod": np.mod, "pi": np.pi,
    "sum": np.sum, "min": np.minimum, "max": np.maximum,
}  # fmt: skip
SUM, PRODUCT, POWER, ATOM = range(4)  # how tightly a part binds


def clauses(formula: str) -> list[tuple[ast.expr, ast.expr]]:
    """(left, right) of each clause.

    Raises:
        ValueError: not of the form `left = right; left = right`.
    """
    sides = []
    for text in formula.split(";"):
        left, equals, right = text.partition(" = ")
        if not equals:
            raise ValueError(f"formula '{formula}': '{text.strip()}' is not of the form left = right")
        sides.append((ast.parse(left.strip(), mode="eval").body, ast.parse(right.strip(), mode="eval").body))
    return sides


def to_latex(formula: str) -> str:
    r"""The formula for typesetting.

    >>> to_latex("w_x0 = S*gamma/(S + gamma)")
    'w_{x_0} = \\frac{S \\, \\gamma}{S + \\gamma}'
    """
    return r",\quad ".join(f"{_latex(left)[0]} = {_latex(right)[0]}" for left, right in clauses(formula))


def evaluate(formula: str, values: Mapping[str, Any]) -> Any:
    """The right side of the first clause with these values and functions for its names.

    >>> float(evaluate("y = f(2) + 1; f(u) = u**k", {"k": 3}))
    9.0
    """
    (_, main), *others = clauses(formula)
    scope: dict[str, Any] = {"__builtins__": {}, **KNOWN, **values}
    for left, right in reversed(others):
        code = compile(ast.Expression(right), formula, "eval")
        if isinstance(left, ast.Call):
            scope[left.func.id] = _function(code, left.args[0].id, scope)  # type: ignore[attr-defined]  # our formulas define f(u) so
        else:
            scope[left.id] = eval(code, scope)  # type: ignore[attr-defined]  # our own text, never a user's
    return eval(compile(ast.Expression(main), formula, "eval"), scope)


def _function(code: Any, argument: str, scope: Mapping[str, Any]) -> Callable[[Any], Any]:
    return lambda value: eval(code, {**scope, argument: value})


def _latex(node: ast.expr) -> tuple[str, int]:
    """(LaTeX, how tightly its outermost operation binds)."""
    match node:
        case ast.Constant(value=int() | float() as value):
            return f"{value}", ATOM
        case ast.Name(id=name):
            return _symbol(name), ATOM
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return f"-{_bound(operand, PRODUCT)}", SUM
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return f"{_latex(left)[0]} + {_latex(right)[0]}", SUM
        case ast.BinOp(left=left, op=ast.Sub(), right=right):
            return f"{_latex(left)[0]} - {_bound(right, PRODUCT)}", SUM
        case ast.BinOp(left=left, op=ast.Mult(), right=right):
            return rf"{_bound(left, PRODUCT)} \, {_bound(right, PRODUCT)}", PRODUCT
        case ast.BinOp(left=left, op=ast.Div(), right=right):
            return rf"\frac{{{_latex(left)[0]}}}{{{_latex(right)[0]}}}", PRODUCT
        case ast.BinOp(left=left, op=ast.Pow(), right=right):
            return f"{_bound(left, ATOM)}^{{{_latex(right)[0]}}}", POWER
        case ast.Call(func=ast.Name(id=name), args=arguments):
            return _call(name, [_latex(a)[0] for a in arguments]), ATOM
    raise ValueError(f"formula: {ast.unparse(node)} has no form in print")


def _call(name: str, arguments: list[str]) -> str:
    inside = ", ".join(arguments)
    match name:
        case "sqrt":
            return rf"\sqrt{{{inside}}}"
        case "abs":
            return rf"\left| {inside} \right|"
        case "sum":
            return rf"\sum {inside}"
        case "mod":
            return rf"\left( {arguments[0]} \;\text{{mod}}\; {arguments[1]} \right)"
    return rf"{FUNCTIONS.get(name, _symbol(name))}\left( {inside} \right)"


def _bound(node: ast.expr, needed: int) -> str:
    text, binds = _latex(node)
    return text if binds >= needed else rf"\left( {text} \right)"


def _symbol(name: str) -> str:
    if name in SYMBOLS:
        return SYMBOLS[name]
    if name in GREEK:
        return rf"\{name}"
    return name if len(name) == 1 else rf"\text{{{name.replace('_', ' ')}}}"
