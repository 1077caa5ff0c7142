"""One-sentence explanations of why a value does not match its annotation.

Runs only after a check has failed, so it may be slow and tries to be helpful.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from kauldron.ktyping import (
    _checkers,
    _format,
    _jaxtyping,
    _match,
    _spec,
    _structural,
    array_type_meta,
)


@dataclasses.dataclass(frozen=True)
class Reason:
    """Why a value does not fit.

    Attributes:
      text: One sentence without a full stop.
      at: Where inside the value, such as `['a'][0]`.
      progress: How much of the annotation fits, to choose between alternatives.
    """

    text: str
    at: str = ""
    progress: int = 0

    def below(self, step: str) -> Reason:
        return dataclasses.replace(self, at=step + self.at)


@dataclasses.dataclass(frozen=True)
class Explainer:
    """Explains failures given what was known before.

    Attributes:
      candidates: The assignments before the check that failed.
      scope: For `{...}` dims.
      origins: Which argument each dim comes from.
      name: What is explained.
    """

    candidates: list[_match.Candidate]
    scope: Any
    origins: Mapping[str, str]
    name: str = ""

    def explain(self, value: Any, hint: Any) -> Reason:
        """Returns why `value` does not fit `hint`."""
        if _jaxtyping.is_annotation(hint):
            hint = _jaxtyping.convert(hint) or hint
        if isinstance(hint, array_type_meta.ArrayTypeMeta):
            return self._explain_array(value, hint)
        if isinstance(hint, type(_structural.PyTree)) and hint.args:
            return self._explain_tree(value, hint)
        is_shape = isinstance(hint, type(_structural.Shape)) and hint.args
        if is_shape and _structural.Shape.match(value, [{}]):
            return self._explain_shape(tuple(value), hint.args[0])
        origin, args = typing.get_origin(hint), typing.get_args(hint)
        if origin is typing.Annotated:
            return self.explain(value, args[0])
        if origin in (typing.Union, types.UnionType):
            return self._explain_union(value, args)
        if isinstance(origin, type) and isinstance(value, origin):
            inside = self._explain_items(value, origin, args)
            if inside is not None:
                return inside
        if _checkers.is_checked_class(hint) or dataclasses.is_dataclass(hint):
            inside = self._explain_fields(value, hint)
            if inside is not None:
                return inside
        seen = _format.format_value(value)
        return Reason(f"{seen} is not {_format.format_hint(hint)}")

    def _explain_union(self, value: object, args: Sequence[Any]) -> Reason:
        reasons = [(self.explain(value, a), a) for a in args if a is not type(None)]
        reasons.sort(key=lambda pair: -pair[0].progress)
        best = reasons[0][0]
        if len(reasons) == 1 or best.at:
            return best
        texts = [f"as {_format.format_hint(a)}, {r.text}" for r, a in reasons[:3]]
        return dataclasses.replace(best, text="; ".join(texts))

    def _first_failure(self, items: Iterable[tuple[str, Any, Any]]) -> Reason | None:
        """Explains the first of `(step, value, hint)` that does not fit."""
        candidates, origins = self.candidates, dict(self.origins)
        for step, value, hint in items:
            remaining = _checkers.checker(hint)(value, candidates, self.scope)
            if not remaining:
                inner = dataclasses.replace(
                    self, candidates=candidates, origins=origins, name=self.name + step
                )
                return inner.explain(value, hint).below(step)
            for key in (key for c in remaining for key in c):
                origins.setdefault(key.removeprefix("#"), self.name + step)
            candidates = remaining
        return None

    def _explain_items(
        self, value: Any, origin: type, args: Sequence[Any]
    ) -> Reason | None:
        if issubclass(origin, collections.abc.Mapping):
            return self._first_failure(
                (f"[{key!r}]", item, args[1]) for key, item in value.items()
            )
        if origin is tuple and args[-1:] != (...,):
            if len(value) != len(args):
                text = f"it has {len(value)} items, not {len(args)}"
                return Reason(text, progress=1)
            hints = args
        elif isinstance(value, collections.abc.Collection):
            hints = [args[0]] * len(value)
        else:
            return None
        return self._first_failure(
            (f"[{i}]", item, hint)
            for i, (item, hint) in enumerate(zip(value, hints, strict=True))
        )

    def _explain_fields(self, value: object, cls: Any) -> Reason | None:
        alone = Explainer([{}], None, {}, self.name)
        if typing.is_typeddict(cls):
            if not isinstance(value, dict):
                return None
            if missing := sorted(cls.__required_keys__ - value.keys()):
                return Reason(f"it has no key {missing[0]!r}", progress=1)
            hints = typing.get_type_hints(cls, include_extras=True)
            if extra := [key for key in value if key not in hints]:
                return Reason(f"{cls.__name__} has no key {extra[0]!r}", progress=1)
            return alone._first_failure(
                (f"[{name!r}]", item, hints[name]) for name, item in value.items()
            )
        if not isinstance(value, cls):
            return None
        fields = getattr(cls, "__ktyping_hints__", dict)()
        look_into = self.scope.look_into if self.scope is not None else None
        if not fields and look_into is not None:
            alone = dataclasses.replace(alone, scope=self.scope)
            fields = look_into.hints(type(value))
        return alone._first_failure(
            (f".{name}", getattr(value, name, None), hint)
            for name, hint in fields.items()
        )

    def _explain_tree(self, value: Any, hint: Any) -> Reason:
        leaves, structure = _structural.flatten(value, hint.args[0], self.scope)
        if len(hint.args) == 2:
            name = hint.args[1]
            known = [c[name] for c in self.candidates if name in c]
            if known and structure not in known:
                return Reason(
                    f"its structure is {structure}, but {name} is {known[0]}"
                    + self._origin(name),
                    progress=2,
                )
        import jax

        failure = self._first_failure(
            (jax.tree_util.keystr(path), leaf, hint.args[0]) for path, leaf in leaves
        )
        return failure or Reason("its leaves do not fit", progress=2)

    def _explain_array(self, value: Any, hint: array_type_meta.ArrayTypeMeta) -> Reason:
        if not hint.has_instance(value):
            kinds = " or ".join(map(repr, hint.array_types))
            if len(kinds) > 60:
                kinds = "allowed array"
            return Reason(f"{_format.format_value(value)} is no {kinds}")
        value = hint.as_seen(value)
        if value.dtype not in hint.dtype_cache:
            dtype = _format.format_dtype(value.dtype)
            return Reason(f"its dtype is {dtype}, not {hint.dtype}", progress=1)
        if hint.spec is None:
            return Reason("it does not fit")
        return self._explain_shape(tuple(value.shape), str(hint.parsed(self.scope)))

    def _explain_shape(self, shape: tuple[Any, ...], text: str) -> Reason:
        spec = array_type_meta._parser.parse(text)
        low, high = spec.min_rest[0], spec.max_rest[0]
        if len(shape) < low or (high is not None and len(shape) > high):
            needed = f"{low}" if low == high else f"{low} or more"
            if high is not None and high != low:
                needed = f"{low} to {high}"
            return Reason(f"it has {_axes(len(shape))}, not {needed}", progress=2)
        best: list[str] | None = None
        for candidate in self.candidates:
            mismatches = self._mismatches(spec, shape, candidate)
            if mismatches is not None and (best is None or len(mismatches) < len(best)):
                best = mismatches
        if best:
            return Reason(", and ".join(best[:3]), progress=3)
        return Reason(f"no way to divide its axes fits '{text}'", progress=3)

    def _mismatches(
        self, spec: _spec.Spec, shape: Sequence[Any], candidate: _match.Candidate
    ) -> list[str] | None:
        """Returns what is wrong, axis by axis; `None` if the axes are not aligned."""
        flexible = [
            d for d in spec.dims if _spec._num_axes(d)[0] != _spec._num_axes(d)[1]
        ]
        if len(flexible) > 1:
            return None
        mismatches: list[str] = []
        start = 0
        for i, dim in enumerate(spec.dims):
            stop = len(shape) - spec.min_rest[i + 1] if dim in flexible else start + 1
            sizes = tuple(shape[start:stop])
            found = _match._bind_axes(dim, sizes, candidate)
            if found:
                candidate = found[0]
            else:
                axis = start - len(shape)
                mismatches.append(self._mismatch(dim, sizes, axis, candidate))
            start = stop
        return mismatches

    def _mismatch(
        self,
        dim: object,
        sizes: tuple[Any, ...],
        axis: int,
        candidate: _match.Candidate,
    ) -> str:
        seen = f"axis {axis} is {sizes[0]}" if len(sizes) == 1 else f"{sizes} is there"
        if isinstance(dim, _spec.Variadic):
            known = candidate.get(dim.key, candidate.get(f"#{dim.key}"))
            if dim.is_broadcast:
                shown = f"{dim.key}={known}{self._origin(dim.key)}"
                return f"{sizes} cannot be broadcast with {shown}"
            return f"{dim.key} is {known}{self._origin(dim.key)}, here {sizes}"
        if isinstance(dim, _spec.OptionalDim):
            dim = dim.dim
        if isinstance(dim, _spec.Int):
            return f"{seen}, not {dim}"
        if isinstance(dim, _spec.Name):
            known = candidate.get(dim.name)
            return f"{seen}, but {dim.name}={known}{self._origin(dim.name)}"
        if isinstance(dim, _spec.Broadcast):
            inner = dim.dim
            name = getattr(inner, "name", "")
            known = f"{name}={candidate.get(name)}" if name else str(inner)
            return f"{seen}, neither 1 nor {known}{self._origin(name)}"
        return f"{seen}, but {self._explain_expression(dim, candidate)}"

    def _explain_expression(self, dim: Any, candidate: _match.Candidate) -> str:
        names = [n for n in _names(dim) if n in candidate]
        given = ", ".join(f"{n}={candidate[n]}{self._origin(n)}" for n in names)
        given = f" with {given}" if given else ""
        if isinstance(dim, _spec.Choice):
            return f"must be {' or '.join(map(str, dim.options))}{given}"
        try:
            return f"{dim} is {dim.evaluate(candidate)}{given}"
        except (_spec.UnknownDim, _spec.NoValue):
            return f"{dim} has no such value{given}"

    def _origin(self, name: str) -> str:
        origin = self.origins.get(name)
        return f" (from `{origin}`)" if origin else ""


def _axes(count: int) -> str:
    return "1 axis" if count == 1 else f"{count} axes"


def _names(node: object) -> list[str]:
    if isinstance(node, _spec.Name):
        return [node.name]
    if isinstance(node, _spec.Variadic):
        return [node.key]
    return list(
        dict.fromkeys(n for child in _spec._children(node) for n in _names(child))
    )
