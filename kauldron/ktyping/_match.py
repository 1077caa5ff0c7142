"""Matching a shape spec against a shape.

What is known at some point of a scope is a *list of candidates*: every assignment of
names to sizes that fits everything seen so far. A check keeps those that can be
extended to fit one more array, and fails if none is left. So `*a *b` is not decided
before later arrays decide it.

A candidate is a dict, never changed once made:

- `"h"`: the size of a named dim; `"*b"`: the sizes of a variadic dim;
- `"#*b"`: what `*b` must be broadcastable from: `*#b` says no more than that;
- `"$S"`: a named tree structure;
- `PENDING`: expressions that could not be evaluated yet, each with its size.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kauldron.ktyping import _solve, _spec

Candidate = dict[str, Any]
PENDING = "!pending"


def match(
    spec: _spec.Spec, shape: Sequence[int], candidates: list[Candidate]
) -> list[Candidate]:
    """Returns the candidates, extended, that make `spec` fit `shape`."""
    num_axes = len(shape)
    most = spec.max_rest[0]
    if num_axes < spec.min_rest[0] or (most is not None and num_axes > most):
        return []
    found: list[Candidate] = []
    for candidate in candidates:
        if spec.is_fixed:
            found += _match_fixed(spec, shape, candidate)
        else:
            found += _match_flexible(spec, shape, candidate)
    if any(PENDING in candidate for candidate in found):
        found = [c for candidate in found for c in _settle(candidate)]
    return unique(found) if len(found) > 1 else found


def unique(candidates: list[Candidate]) -> list[Candidate]:
    """Returns the candidates without repetitions."""
    if len(candidates) < 2:
        return candidates
    return list({frozenset(c.items()): c for c in candidates}.values())


def _match_fixed(
    spec: _spec.Spec, shape: Sequence[int], candidate: Candidate
) -> list[Candidate]:
    """Every dim is one axis."""
    states = [candidate]
    for dim, size in zip(spec.dims, shape, strict=True):
        # The plain cases in line: this loop is what an eager call pays for.
        if type(dim) is _spec.Name and len(states) == 1:
            known = states[0].get(dim.name)
            if known is None:
                states = [{**states[0], dim.name: size}]
            elif known != size:
                return []
        elif type(dim) is _spec.Int:
            if dim.value != size:
                return []
        else:
            states = [new for state in states for new in _bind(dim, size, state)]
            if not states:
                return []
    return states


def _match_flexible(
    spec: _spec.Spec, shape: Sequence[int], candidate: Candidate
) -> list[Candidate]:
    """Tries every number of axes for every dim that may take several."""
    num_axes = len(shape)
    states: list[tuple[Candidate, int]] = [(candidate, 0)]
    for i, dim in enumerate(spec.dims):
        rest_min, rest_max = spec.min_rest[i + 1], spec.max_rest[i + 1]
        following: list[tuple[Candidate, int]] = []
        for state, start in states:
            longest = num_axes - rest_min
            shortest = start if rest_max is None else max(start, num_axes - rest_max)
            for stop in range(shortest, longest + 1):
                for new in _bind_axes(dim, tuple(shape[start:stop]), state):
                    following.append((new, stop))
        states = following
        if not states:
            return []
    return [state for state, stop in states if stop == num_axes]


def _bind_axes(
    dim: object, sizes: tuple[int, ...], state: Candidate
) -> list[Candidate]:
    """Returns the state extended by `dim` taking exactly these axes."""
    if isinstance(dim, _spec.Variadic):
        return _bind_variadic(dim, sizes, state)
    if isinstance(dim, _spec.OptionalDim):
        if not sizes:
            return [state]
        dim = dim.dim
    return _bind(dim, sizes[0], state) if len(sizes) == 1 else []


def _bind(dim: object, size: int, state: Candidate) -> list[Candidate]:
    """Returns the state extended by `dim` being one axis of this size."""
    if isinstance(dim, _spec.Int):
        return [state] if dim.value == size else []
    if isinstance(dim, _spec.Name):
        known = state.get(dim.name)
        if known is None:
            return [{**state, dim.name: size}]
        return [state] if known == size else []
    if isinstance(dim, _spec.Anonymous):
        return [state]
    if isinstance(dim, _spec.Broadcast):
        return [state] if size == 1 else _bind(dim.dim, size, state)
    if isinstance(dim, _spec.Choice):
        return [new for option in dim.options for new in _bind(option, size, state)]
    return _bind_expression(dim, size, state)


def _bind_expression(dim: Any, size: int, state: Candidate) -> list[Candidate]:
    try:
        return [state] if dim.evaluate(state) == size else []
    except _spec.NoValue:
        return []
    except _spec.UnknownDim:
        pass
    solutions = _solve.solve(dim, size, state)
    if solutions is None:
        waiting = state.get(PENDING, ())
        return [{**state, PENDING: (*waiting, (dim, size))}]
    return [{**state, name: value} for name, value in solutions]


def assume_smallest(candidate: Candidate) -> list[Candidate]:
    """Takes for `*b`, where only `*#b` was seen, the shape that all broadcast to."""
    known = {
        name.removeprefix("#"): value
        for name, value in candidate.items()
        if not (name.startswith("#") and name[1:] in candidate)
    }
    return _settle(known)


def _settle(candidate: Candidate) -> list[Candidate]:
    """Evaluates the waiting expressions that can be evaluated by now."""
    waiting = candidate.get(PENDING, ())
    for i, (dim, size) in enumerate(waiting):
        rest = {**candidate, PENDING: (*waiting[:i], *waiting[i + 1 :])}
        if not rest[PENDING]:
            del rest[PENDING]
        results = _bind_expression(dim, size, rest)
        still_waits = any((dim, size) in r.get(PENDING, ()) for r in results)
        if not (still_waits and len(results) == 1):
            return [final for result in results for final in _settle(result)]
    return [candidate]


def _bind_variadic(
    dim: _spec.Variadic, sizes: tuple[int, ...], state: Candidate
) -> list[Candidate]:
    if len(sizes) < dim.min_len:
        return []
    if dim.name is None:
        return [state]
    key, from_key = dim.key, f"#{dim.key}"
    known = state.get(key)
    if dim.is_broadcast:
        if known is not None:
            return [state] if broadcasts_to(sizes, known) else []
        merged = broadcast(state.get(from_key, ()), sizes)
        return [] if merged is None else [{**state, from_key: merged}]
    if known is not None:
        return [state] if known == sizes else []
    if from_key not in state:
        return [{**state, key: sizes}]
    if not broadcasts_to(state[from_key], sizes):
        return []
    new = {**state, key: sizes}
    del new[from_key]
    return [new]


def broadcast(a: tuple[int, ...], b: tuple[int, ...]) -> tuple[int, ...] | None:
    """Returns the shape that both broadcast to, or `None`."""
    if len(a) < len(b):
        a, b = b, a
    b = (1,) * (len(a) - len(b)) + b
    if any(x != y and x != 1 and y != 1 for x, y in zip(a, b, strict=True)):
        return None
    return tuple(y if x == 1 else x for x, y in zip(a, b, strict=True))


def broadcasts_to(shape: tuple[int, ...], target: tuple[int, ...]) -> bool:
    """Returns whether an array of this shape can be broadcast to `target`."""
    return len(shape) <= len(target) and all(
        x in (1, y) for x, y in zip(reversed(shape), reversed(target), strict=False)
    )
