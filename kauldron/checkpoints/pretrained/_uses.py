"""Uses of rules: which tensors and variables each rule joins, for given names."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from kauldron.checkpoints import _errors
from kauldron.checkpoints.pretrained import _rules

_Numbers = tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Use:
    """A rule with numbers.

    Attributes:
      rule: The rule.
      theirs: For each tensor that the rule names, one name, or those that are stacked.
      ours: Names of the variables.
      num_stacked: How many tensors there are along each stacked axis.
    """

    rule: _rules.Rule
    theirs: tuple[tuple[str, ...], ...]
    ours: tuple[str, ...]
    num_stacked: _Numbers = ()

    @property
    def all_theirs(self) -> tuple[str, ...]:
        return tuple(itertools.chain.from_iterable(self.theirs))

    def to_ours(
        self, tensors: Mapping[str, np.ndarray], shapes: Mapping[str, tuple[int, ...]]
    ) -> dict[str, np.ndarray]:
        """Returns the variables, see `Form.to_ours`."""
        num_axes = len(self.num_stacked)
        wanted = [shapes[name][num_axes:] for name in self.ours]
        form = self.rule.array_form
        columns = [
            form.to_ours([tensors[name] for name in row], wanted)
            for row in zip(*self.theirs, strict=True)
        ]
        if not num_axes:
            return dict(zip(self.ours, columns[0], strict=True))
        return {
            name: np.stack(column).reshape(*self.num_stacked, *column[0].shape)
            for name, column in zip(self.ours, zip(*columns, strict=True), strict=True)
        }

    def specs_of_ours(
        self,
        specs: Mapping[str, jax.ShapeDtypeStruct],
        shapes: Mapping[str, tuple[int, ...]],
    ) -> dict[str, jax.ShapeDtypeStruct]:
        """Returns what `to_ours` makes of such tensors, without reading them."""
        num_axes = len(self.num_stacked)
        wanted = [shapes[name][num_axes:] for name in self.ours]
        rows = [[specs[name] for name in row] for row in zip(*self.theirs, strict=True)]
        if any(_forms(row) != _forms(rows[0]) for row in rows):
            raise _errors.CheckpointError("the tensors to stack have several shapes")
        made = self.rule.array_form.to_ours([_fake(spec) for spec in rows[0]], wanted)
        return {
            name: jax.ShapeDtypeStruct((*self.num_stacked, *x.shape), x.dtype)
            for name, x in zip(self.ours, made, strict=True)
        }

    def to_theirs(self, variables: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Returns the tensors."""
        num_axes = len(self.num_stacked)
        ours = [np.asarray(variables[name]) for name in self.ours]
        rows = zip(*(x.reshape(-1, *x.shape[num_axes:]) for x in ours), strict=True)
        columns = [
            self.rule.array_form.to_theirs(x) for x in (rows if num_axes else [ours])
        ]
        found = {}
        for row, tensors in zip(zip(*self.theirs, strict=True), columns, strict=True):
            found |= dict(zip(row, tensors, strict=True))
        return found


def find_uses(
    rules: Iterable[_rules.Rule],
    theirs: Iterable[str],
    ours: Mapping[str, Sequence[int]],
    *,
    is_written: bool = False,
) -> Iterator[Use]:
    """Returns every use of each rule for which there is a tensor or a variable.

    Args:
      rules: The rules, in the order that decides.
      theirs: Names of the tensors that there are.
      ours: Name of each variable there is, with its shape.
      is_written: Whether the tensors are to be made: how many are stacked is a size of
        the variable then.
    """
    theirs = tuple(theirs)
    for rule in rules:
        stacked = rule.stacked
        found: dict[tuple[tuple[str, int], ...], set[_Numbers]] = {}
        for name in rule.names_ours:
            for variable, shape in ours.items():
                if (numbers := name.match(variable)) is not None:
                    is_there = found.setdefault(tuple(sorted(numbers.items())), set())
                    if is_written:
                        is_there.add(tuple(n - 1 for n in shape[: len(stacked)]))
        for name in rule.names_theirs:
            for tensor in theirs:
                if (numbers := name.match(tensor)) is not None:
                    index = tuple(numbers.pop(key) for key in stacked)
                    found.setdefault(tuple(sorted(numbers.items())), set()).add(index)
        for key, indices in found.items():
            yield _use(rule, dict(key), stacked, indices)


def _use(
    rule: _rules.Rule,
    numbers: Mapping[str, int],
    stacked: Sequence[str],
    indices: set[_Numbers],
) -> Use:
    ours = tuple(name.format(numbers) for name in rule.names_ours)
    last = [max((i[axis] for i in indices), default=0) for axis in range(len(stacked))]
    counts = tuple(n + 1 for n in last)
    every = list(itertools.product(*map(range, counts)))
    theirs = tuple(
        tuple(
            name.format({**numbers, **dict(zip(stacked, index, strict=True))})
            for index in every
        )
        for name in rule.names_theirs
    )
    return Use(rule, theirs, ours, counts)


def _fake(spec: jax.ShapeDtypeStruct) -> np.ndarray:
    """Returns an array of that shape and dtype that takes no memory."""
    return np.broadcast_to(np.zeros((), spec.dtype), spec.shape)


def _forms(specs: Sequence[jax.ShapeDtypeStruct]) -> list[tuple[Any, Any]]:
    return [(spec.shape, spec.dtype) for spec in specs]
