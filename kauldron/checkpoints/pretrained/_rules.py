"""Weight rules: which tensors of a file are which variables of a model, as data.

A rule holds for all names with other numbers: `{i}` stands for any number, `{i+1}` for
one more than it, `{i*2+1}` for one more than its double, `{i*2+1<4}` for that of those
below 4. Read from left to right, a rule makes variables of tensors; from right
to left it makes the tensors again.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

import einops
import numpy as np

from kauldron.checkpoints import _errors

_VARIABLE = re.compile(r"\{(\w+)(?:\*(\d+))?(?:\+(\d+))?(?:<(\d+))?\}")
_TOKEN = re.compile(r"\([^)]*\)|\S+")
_AXIS = re.compile(r"[a-z_]\w*")


class Form(Protocol):
    """How the tensors of a file and the variables of a model are made of each other."""

    def to_ours(
        self, theirs: Sequence[np.ndarray], shapes: Sequence[tuple[int, ...]]
    ) -> list[np.ndarray]:
        """Returns the variables.

        Args:
          theirs: The tensors that the rule names, in its order.
          shapes: Of the variables in the model. The result may differ where no size is
            needed: the caller resizes it, or refuses it.
        """
        ...

    def to_theirs(self, ours: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Returns the tensors."""
        ...


@dataclasses.dataclass(frozen=True)
class Rearrange(Form):
    """`einops.rearrange` of one tensor, and back.

    Several variables may be parts of one tensor, joined along an axis of it; the pattern
    is then that of each part.

    Attributes:
      pattern: Axes of theirs and of ours: `"d_out d_in -> d_in d_out"`, `"(heads head_dim) embed
        -> embed heads head_dim"`. Parentheses are on the left only; sizes in them are
        those of the variable. `...` stands for the axes of space.
      joined_axis: Along which axis of the tensor several variables are joined.
      flips_space: Whether the axes `...` are reversed, as in transposed convolutions.

    Raises:
      CheckpointError: If the pattern cannot be understood.
    """

    pattern: str
    joined_axis: int = 0
    flips_space: bool = False

    def __post_init__(self) -> None:
        left, arrow, right = self.pattern.partition("->")
        names = [sorted(_AXIS.findall(side)) for side in (left, right)]
        if not arrow or "(" in right or names[0] != names[1]:
            raise _errors.CheckpointError(
                f"{self.pattern!r} is no pattern of a weight rule: it has the same axes "
                "on both sides of `->`, and parentheses on the left only, as in "
                "'(heads head_dim) embed -> embed heads head_dim'."
            )

    @property
    def _left(self) -> list[str]:
        return _TOKEN.findall(self.pattern.partition("->")[0])

    @property
    def _right(self) -> list[str]:
        return _TOKEN.findall(self.pattern.partition("->")[2])

    def to_ours(
        self, theirs: Sequence[np.ndarray], shapes: Sequence[tuple[int, ...]]
    ) -> list[np.ndarray]:
        (tensor,) = theirs
        sizes = [self._sizes(shape) for shape in shapes]
        parts = [tensor] if len(shapes) == 1 else self._split(tensor, sizes)
        return [
            self._flipped(self._rearrange(part, self.pattern, self._in_groups(size)))
            for part, size in zip(parts, sizes, strict=True)
        ]

    def to_theirs(self, ours: Sequence[np.ndarray]) -> list[np.ndarray]:
        left, _, right = self.pattern.partition("->")
        parts = [
            self._rearrange(self._flipped(x), f"{right} -> {left}", {}) for x in ours
        ]
        return (
            parts if len(parts) == 1 else [np.concatenate(parts, axis=self.joined_axis)]
        )

    def _sizes(self, shape: tuple[int, ...]) -> dict[str, int]:
        """Returns the size of each named axis of a variable."""
        axes = self._right
        if "..." in axes:
            index = axes.index("...")
            num_space = len(shape) - len(axes) + 1
            axes = [*axes[:index], *["..."] * num_space, *axes[index + 1 :]]
        if len(axes) != len(shape):
            raise _errors.CheckpointError(
                f"`{self.pattern}` makes arrays of {len(axes)} axes"
            )
        named = zip(axes, shape, strict=True)
        return {axis: size for axis, size in named if _AXIS.fullmatch(axis)}

    def _in_groups(self, sizes: Mapping[str, int]) -> dict[str, int]:
        groups = [token for token in self._left if token.startswith("(")]
        return {axis: sizes[axis] for group in groups for axis in _AXIS.findall(group)}

    def _split(
        self, tensor: np.ndarray, sizes: Sequence[Mapping[str, int]]
    ) -> list[np.ndarray]:
        axes = _AXIS.findall(self._left[self.joined_axis])
        lengths = [math.prod(size[axis] for axis in axes) for size in sizes]
        if tensor.shape[self.joined_axis] != sum(lengths):
            raise _errors.CheckpointError(
                f"axis {self.joined_axis} joins {' + '.join(map(str, lengths))}"
            )
        ends = list(itertools.accumulate(lengths))[:-1]
        return np.split(tensor, ends, axis=self.joined_axis)

    def _flipped(self, array: np.ndarray) -> np.ndarray:
        if not self.flips_space:
            return array
        first = self._right.index("...")
        num_space = array.ndim - len(self._right) + 1
        return np.flip(array, axis=tuple(range(first, first + num_space)))

    def _rearrange(
        self, array: np.ndarray, pattern: str, sizes: Mapping[str, int]
    ) -> np.ndarray:
        try:
            return einops.rearrange(array, pattern, **sizes)
        except einops.EinopsError as e:
            given = "".join(f", {axis}={size}" for axis, size in sizes.items())
            raise _errors.CheckpointError(f"does not fit `{pattern}`{given}") from e


IDENTITY = Rearrange("... -> ...")


@dataclasses.dataclass(frozen=True)
class Rule:
    """Which tensors are which variables.

    A number that only the tensors have (`experts.{e}.w1.weight`) stacks them along the
    first axis of the variable, in its order.

    Attributes:
      theirs: Name of the tensor in the file, or names.
      ours: Name of the variable, or names: `params.head.kernel`,
        `batch_stats.stem.norm.mean`.
      form: What is done to the tensor: a pattern of `Rearrange`, or a `Form`.

    Raises:
      CheckpointError: If the rule cannot be understood.
    """

    theirs: str | tuple[str, ...]
    ours: str | tuple[str, ...]
    form: str | Form = IDENTITY

    def __post_init__(self) -> None:
        numbers = [set(name.numbers) for name in self.names_ours]
        known = [set(name.numbers) for name in self.names_theirs]
        if any(n != numbers[0] for n in numbers) or any(k != known[0] for k in known):
            raise _errors.CheckpointError(
                f"{self}: all names of a side have the same numbers."
            )
        if not numbers[0] <= known[0]:
            raise _errors.CheckpointError(
                f"{self}: {sorted(numbers[0] - known[0])} is in ours, not in theirs."
            )

    def __str__(self) -> str:
        sides = (self.theirs, self.ours)
        return " -> ".join(
            side if isinstance(side, str) else ", ".join(side) for side in sides
        )

    def renamed(self, theirs: Callable[[str], str], ours: Callable[[str], str]) -> Rule:
        """Returns the rule with other names."""
        sides = [
            change(side) if isinstance(side, str) else tuple(map(change, side))
            for change, side in ((theirs, self.theirs), (ours, self.ours))
        ]
        return Rule(sides[0], sides[1], self.form)

    @functools.cached_property
    def names_theirs(self) -> tuple[NumberedName, ...]:
        """The names of `theirs`, parsed."""
        return _names(self.theirs)

    @functools.cached_property
    def names_ours(self) -> tuple[NumberedName, ...]:
        """The names of `ours`, parsed."""
        return _names(self.ours)

    @functools.cached_property
    def array_form(self) -> Form:
        """How arrays are turned: `form`, of a pattern its `Rearrange`."""
        return Rearrange(self.form) if isinstance(self.form, str) else self.form

    @property
    def stacked(self) -> tuple[str, ...]:
        """The numbers along which tensors are stacked."""
        ours = self.names_ours[0].numbers
        return tuple(n for n in self.names_theirs[0].numbers if n not in ours)


class _Value(NamedTuple):
    """How a number is written: `{i*2+1<4}` as `number * 2 + 1`, if it is below 4."""

    factor: int
    offset: int
    limit: int | None

    @classmethod
    def of(cls, match: re.Match[str]) -> _Value:
        limit = int(match[4]) if match[4] else None
        return cls(int(match[2] or 1), int(match[3] or 0), limit)

    def written(self, number: int) -> int:
        return number * self.factor + self.offset

    def number_of(self, written: int) -> int | None:
        """Returns the number; `None` if none is written so."""
        number, rest = divmod(written - self.offset, self.factor)
        is_one = not rest and number >= 0
        is_one &= self.limit is None or number < self.limit
        return number if is_one else None


@dataclasses.dataclass(frozen=True)
class NumberedName:
    """A name with numbers in it: `layer{s+1}.{b}.conv1.weight`."""

    template: str

    @functools.cached_property
    def numbers(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(m[1] for m in _VARIABLE.finditer(self.template)))

    @functools.cached_property
    def _values(self) -> dict[str, _Value]:
        return {m[1]: _Value.of(m) for m in _VARIABLE.finditer(self.template)}

    @functools.cached_property
    def _regex(self) -> re.Pattern[str]:
        pattern, end = "", 0
        for m in _VARIABLE.finditer(self.template):
            is_first = f"(?P<{m[1]}>" not in pattern
            number = rf"(?P<{m[1]}>\d+)" if is_first else f"(?P={m[1]})"
            pattern += re.escape(self.template[end : m.start()]) + number
            end = m.end()
        return re.compile(pattern + re.escape(self.template[end:]))

    def match(self, name: str) -> dict[str, int] | None:
        """Returns the numbers of a name, `None` if it is another one."""
        match = self._regex.fullmatch(name)
        if match is None:
            return None
        found = {
            key: self._values[key].number_of(int(written))
            for key, written in match.groupdict().items()
        }
        numbers = {key: n for key, n in found.items() if n is not None}
        return numbers if len(numbers) == len(found) else None

    def format(self, numbers: Mapping[str, int]) -> str:
        """Returns the name with its numbers."""
        return _VARIABLE.sub(
            lambda m: str(_Value.of(m).written(numbers[m[1]])), self.template
        )


def _names(side: str | tuple[str, ...]) -> tuple[NumberedName, ...]:
    return tuple(map(NumberedName, (side,) if isinstance(side, str) else side))
