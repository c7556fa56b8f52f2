"""Tables and formulas that a flow case brings along: inlet profiles and histories."""

from __future__ import annotations

import ast
import csv
import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from twin.errors import BadInput

_FUNCTIONS: dict[str, Callable[..., np.ndarray]] = {
    name: getattr(np, name) for name in ("sin", "cos", "tan", "sinh", "cosh", "tanh", "exp", "log", "sqrt", "abs")
} | {"min": np.minimum, "max": np.maximum}
LINE = 1e-6  # of its length: how thin a row of points may be
_NAMES = ("x", "y", "z", "pi")
_OPERATORS = (ast.Add, ast.Sub, ast.Mult, ast.Div, ast.Pow, ast.USub, ast.UAdd)


class Formula:
    """An expression in x, y, z, e.g. ``y*(0.41 - y)``; raises `ValueError` for anything that is not one.

    Known are + − * / ** (also ^), pi, and sin, cos, tan, sinh, cosh, tanh, exp, log, sqrt, abs, min, max.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        try:
            self._tree = ast.parse(text.strip().replace("^", "**"), mode="eval").body
        except (SyntaxError, ValueError, MemoryError, RecursionError):
            raise ValueError(f'"{text}" is not a formula in x, y, z, e.g. "y*(0.41 - y)"') from None
        self._check(self._tree)

    def _check(self, node: ast.expr) -> None:
        parts: list[ast.expr] = []
        match node:
            case ast.Constant(value=int() | float()):
                known = True
            case ast.Name(id=name):
                known = name in _NAMES
            case ast.UnaryOp(op=operator, operand=one):
                known, parts = isinstance(operator, _OPERATORS), [one]
            case ast.BinOp(left=left, op=operator, right=right):
                known, parts = isinstance(operator, _OPERATORS), [left, right]
            case ast.Call(func=ast.Name(id=name), args=parts, keywords=[]):
                known = name in _FUNCTIONS and len(parts) == (2 if name in ("min", "max") else 1)
            case _:
                known = False
        if not known:
            names = ", ".join((*_NAMES, *_FUNCTIONS))
            raise ValueError(f'the formula "{self.text}" has "{ast.unparse(node)}"; known are + - * / ^, {names}')
        for part in parts:
            self._check(part)

    def __call__(self, points: np.ndarray) -> np.ndarray:
        """The values at points (3, n): (n,)."""
        names = {"x": points[0], "y": points[1], "z": points[2], "pi": math.pi}
        with np.errstate(all="ignore"):
            values = np.broadcast_to(np.asarray(_value(self._tree, names), dtype=float), points.shape[1:])
        if not np.isfinite(values).all():
            bad = points[:, ~np.isfinite(values)][:, 0]
            where = ", ".join(f"{part:g}" for part in bad)
            raise BadInput(f'the formula "{self.text}" is not finite at ({where})', "its coordinates are mesh units")
        return values.copy()


def _value(node: ast.expr, names: dict[str, np.ndarray | float]) -> np.ndarray | float:
    match node:
        case ast.Constant(value=int() | float() as number):
            return float(number)
        case ast.Name(id=name):
            return names[name]
        case ast.UnaryOp(op=operator, operand=one):
            value = _value(one, names)
            return -value if isinstance(operator, ast.USub) else value
        case ast.BinOp(left=left, op=operator, right=right):
            a, b = np.asarray(_value(left, names)), np.asarray(_value(right, names))
            match operator:
                case ast.Add():
                    return a + b
                case ast.Sub():
                    return a - b
                case ast.Mult():
                    return a * b
                case ast.Div():
                    return a / b
                case _:
                    return a**b
        case ast.Call(func=ast.Name(id=name), args=arguments):
            return _FUNCTIONS[name](*(_value(argument, names) for argument in arguments))
    raise AssertionError(node)  # `_check` let it through


@dataclass(frozen=True)
class ProfileTable:
    """Speeds, (n,), at points, (n, 3) in mesh units; `dim` is 2 or 3."""

    points: np.ndarray
    speeds: np.ndarray
    dim: int


def read_profile(path: Path) -> ProfileTable:
    """A measured profile: the columns x, y, speed in 2-D, or x, y, z, speed."""
    header, rows = _read(path)
    layouts = {("x", "y", "speed"): 2, ("x", "y", "z", "speed"): 3}
    if header not in layouts:
        raise BadInput(
            f"the columns of {path} are {', '.join(header) or 'unnamed'}", "name them x, y, speed or x, y, z, speed"
        )
    dim = layouts[header]
    if len(rows) < dim or len(np.unique(rows[:, :dim], axis=0)) < len(rows):
        raise BadInput(f"{path} needs at least {dim} rows, at points that differ", "give each point once")
    points = np.zeros((len(rows), 3))
    points[:, :dim] = rows[:, :dim]
    spread = np.linalg.svd(points - points.mean(axis=0), compute_uv=False)
    if dim == 3 and spread[1] < LINE * spread[0]:
        raise BadInput(f"the points of {path} lie on a line", "measure all over the inlet, or give a formula")
    return ProfileTable(points, rows[:, dim], dim)


def read_history(path: Path) -> tuple[list[float], list[float]]:
    """Times in s and factors on a rate, a pressure or a velocity: the columns t, factor, with rising t."""
    header, rows = _read(path)
    if header != ("t", "factor"):
        raise BadInput(f"the columns of {path} are {', '.join(header) or 'unnamed'}", "name them t, factor")
    if any(later <= earlier for earlier, later in pairwise(rows[:, 0])):
        raise BadInput(f"the times of {path} do not rise", "sort them, each once")
    return rows[:, 0].tolist(), rows[:, 1].tolist()


def _read(path: Path) -> tuple[tuple[str, ...], np.ndarray]:
    """The names of the columns and the finite numbers below them, (rows, columns)."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            lines = [line for line in csv.reader(file) if line and not line[0].lstrip().startswith("#")]
    except OSError as error:
        raise BadInput(f"can't read {path}: {error.strerror}", "give its path relative to the case folder") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise BadInput(f"{path} is not a table: {error}", "save it as CSV with commas, in UTF-8") from None
    if len(lines) < 2:
        raise BadInput(f"{path} is empty", "its first row names the columns, the others hold numbers")
    if len(lines[0]) == 1 and (separators := set(lines[0][0]) & {";", "\t"}):
        between = "semicolons" if ";" in separators else "tabs"
        raise BadInput(f"the columns of {path} are separated by {between}", "save it as CSV with commas: 0.5,1.25")
    header = tuple(word.strip().lower() for word in lines[0])
    rows = []
    for number, line in enumerate(lines[1:], 2):
        try:
            rows.append([float(word) for word in line])
        except ValueError:
            rows.append([])
        if len(rows[-1]) != len(header) or not np.isfinite(rows[-1]).all():
            numbers = f"{len(header)} finite number{'s' if len(header) > 1 else ''}"
            raise BadInput(f"row {number} of {path} is not {numbers}", f"it is {', '.join(line)}")
    return header, np.array(rows)
