"""Solving for the one unknown name in an expression of a given size."""

from __future__ import annotations

from typing import Any

from kauldron.ktyping import _spec


def solve(
    node: Any, size: int, bound: _spec.Assignment
) -> list[tuple[str, int]] | None:
    """Returns the `(name, value)`s that make the expression equal to `size`.

    `None` if that cannot be said: more than one unknown, or endlessly many values.
    """
    if len(node.unknown(bound)) != 1:
        return None
    if isinstance(node, _spec.Name):
        return [(node.name, size)] if size >= 0 else []
    if isinstance(node, _spec.Negative):
        return solve(node.operand, -size, bound)
    if not isinstance(node, _spec.Binary):
        return None
    try:
        if node.right.unknown(bound):
            inner, known = node.right, node.left.evaluate(bound)
            values = _invert_right(node.op, known, size)
        else:
            inner, known = node.left, node.right.evaluate(bound)
            values = _invert_left(node.op, known, size)
    except _spec.NoValue:
        return []
    if values is None:
        return None
    solutions: list[tuple[str, int]] = []
    for value in values:
        found = solve(inner, value, bound)
        if found is None:
            return None
        solutions += found
    return solutions


def _invert_left(op: str, known: int, size: int) -> Any:
    """Returns every `x` with `x op known == size`; `None` if they are endless."""
    if op == "+":
        return [size - known]
    if op == "-":
        return [size + known]
    if op == "*" and known:
        return [size // known] if size % known == 0 else []
    if op == "/" and known:
        return [size * known]
    if op == "//" and known > 0:
        return range(size * known, (size + 1) * known)
    if op == "**" and known > 0:
        if size < 0:
            return None
        root = round(size ** (1 / known))
        near = [r for r in (root - 1, root, root + 1) if r >= 0 and r**known == size]
        return near if known % 2 else [*near, *(-r for r in near if r)]
    return None


def _invert_right(op: str, known: int, size: int) -> Any:
    """Returns every `x` with `known op x == size`; `None` if they are endless."""
    if op == "+":
        return [size - known]
    if op == "-":
        return [known - size]
    if op == "*" and known:
        return [size // known] if size % known == 0 else []
    if op == "/" and size:
        return [known // size] if known % size == 0 else []
    return None
