"""What a field of a config may be in a study: a range of numbers, or one of a few values."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from kauldron import konfig
from kauldron._base import errors, extras

# Digits of what is proposed, so that it can stand in the name of a folder.
_SIGNIFICANT = 4


class StudyError(errors.UserError, ValueError):
    """A study that cannot be what it is asked to be; nothing was started."""


def load_optuna(module: str = "optuna") -> Any:
    """Returns a module of Optuna, which says only what is wrong."""
    optuna = extras.load("optuna", needed_by="A study", extra="tune")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return extras.load(module, needed_by="A study", extra="tune")


Condition = Mapping[str, Any]
"""Path -> the value, or list of values, of which that field must have one."""


@dataclasses.dataclass(frozen=True)
class Int:
    """A whole number of a range.

    Attributes:
      low: Smallest value.
      high: Largest value.
      log: Whether what counts is by which factor two values differ.
      step: Distance of neighbours.
      when: Under which condition the field is set, see `Condition`; always unless given.

    Raises:
      StudyError: If no number is in the range, or `log` does not fit.
    """

    low: int
    high: int
    _: dataclasses.KW_ONLY
    log: bool = False
    step: int = 1
    when: Condition | None = None

    def __post_init__(self) -> None:
        _check_range(self, int, "whole numbers")

    def __str__(self) -> str:
        step = "" if self.step == 1 else f",step={self.step}"
        return f"int({self.low},{self.high}{',log' * self.log}{step})"

    @property
    def count(self) -> int:
        """How many values there are."""
        return (self.high - self.low) // self.step + 1

    @property
    def samples(self) -> list[Any]:
        """Values that show whether it fits a field."""
        return [self.low, self.high]

    def all(self) -> list[int]:
        """Returns all values."""
        return list(range(self.low, self.high + 1, self.step))

    def distribution(self) -> Any:
        """Returns it as Optuna has it."""
        distributions = load_optuna("optuna.distributions")
        return distributions.IntDistribution(
            self.low, self.high, log=self.log, step=self.step
        )

    def to_value(self, proposed: Any) -> int:
        """Returns a value of the field."""
        return proposed

    def from_text(self, text: str) -> int | None:
        """Returns what a value on the command line is for Optuna; `None` if none."""
        try:
            value = int(text)
        except ValueError:
            return None
        is_in = self.low <= value <= self.high and not (value - self.low) % self.step
        return value if is_in else None


@dataclasses.dataclass(frozen=True)
class Float:
    """A number of a range; what is proposed has four digits that count.

    Attributes:
      low: Smallest value.
      high: Largest value.
      log: Whether what counts is by which factor two values differ, as of rates.
      step: Distance of neighbours; any number unless given.
      when: Under which condition the field is set, see `Condition`; always unless given.

    Raises:
      StudyError: If no number is in the range, or `log` does not fit.
    """

    low: float
    high: float
    _: dataclasses.KW_ONLY
    log: bool = False
    step: float | None = None
    when: Condition | None = None

    def __post_init__(self) -> None:
        _check_range(self, int | float, "numbers")

    def __str__(self) -> str:
        step = "" if self.step is None else f",step={self.step}"
        return f"float({self.low},{self.high}{',log' * self.log}{step})"

    @property
    def count(self) -> int | None:
        """How many values there are; `None`: more than will ever be tried."""
        if self.step is None:
            return None if self.low < self.high else 1
        return int((self.high - self.low) / self.step + 1e-6) + 1

    @property
    def samples(self) -> list[Any]:
        """Values that show whether it fits a field."""
        between = self.low + (self.step or (self.high - self.low) / 3)
        return [float(self.low), self.to_value(between), float(self.high)]

    def all(self) -> list[float]:
        """Returns all values, of those that can be counted."""
        step = self.step or 0.0
        return [self.to_value(self.low + i * step) for i in range(self.count or 0)]

    def distribution(self) -> Any:
        """Returns it as Optuna has it."""
        distributions = load_optuna("optuna.distributions")
        high = self.high
        if self.step is not None:  # else Optuna warns of an end that is not met
            high = self.low + ((self.count or 1) - 1) * self.step
        return distributions.FloatDistribution(
            self.low, high, log=self.log, step=self.step
        )

    def to_value(self, proposed: Any) -> float:
        """Returns a value of the field."""
        digits = _SIGNIFICANT if self.step is None else 12
        rounded = float(f"{proposed:.{digits}g}")
        return min(max(rounded, float(self.low)), float(self.high))

    def from_text(self, text: str) -> float | None:
        """Returns what a value on the command line is for Optuna; `None` if none."""
        try:
            value = float(text)
        except ValueError:
            return None
        if not self.low <= value <= self.high:
            return None
        if self.step is not None:
            steps = (value - self.low) / self.step
            return value if abs(steps - round(steps)) < 1e-6 else None
        return value


@dataclasses.dataclass(frozen=True)
class Choice:
    """One of a few values, between which there is no order.

    Attributes:
      options: The values: anything that a field of a config can be.
      when: Under which condition the field is set, see `Condition`; always unless given.

    Raises:
      StudyError: If there is nothing to choose, or something twice.
    """

    options: Sequence[Any]
    _: dataclasses.KW_ONLY
    when: Condition | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "options", tuple(self.options))
        if not self.options:
            raise StudyError("`choice()`: there is nothing to choose.")
        twice = [t for t in self.texts if self.texts.count(t) > 1]
        if twice:
            raise StudyError(f"`{self}`: {twice[0]} is there twice.")

    def __str__(self) -> str:
        return f"choice({','.join(map(_in_list, self.options))})"

    @property
    def texts(self) -> list[str]:
        """The values as on the command line."""
        return [konfig.to_flag_value(option) for option in self.options]

    @property
    def count(self) -> int:
        """How many values there are."""
        return len(self.options)

    @property
    def samples(self) -> list[Any]:
        """Values that show whether it fits a field."""
        return list(self.options)

    def all(self) -> list[Any]:
        """Returns all values."""
        return list(self.options)

    def distribution(self) -> Any:
        """Returns it as Optuna has it."""
        distributions = load_optuna("optuna.distributions")
        return distributions.CategoricalDistribution(self.texts)

    def to_value(self, proposed: Any) -> Any:
        """Returns a value of the field."""
        return self.options[self.texts.index(proposed)]

    def from_text(self, text: str) -> str | None:
        """Returns what a value on the command line is for Optuna; `None` if none."""
        return text if text in self.texts else None


def _in_list(option: Any) -> str:
    """Returns a value as it stands between commas."""
    is_split = isinstance(option, str) and set(option) & set(",()[]{}|'\"")
    return repr(option) if is_split else konfig.to_flag_value(option)


Values = Int | Float | Choice


def parse(text: str) -> Values:
    """Returns what `int(8,64)`, `float(1e-4,1e-1,log)` or `choice(a,b)` describes.

    Raises:
      StudyError: If it is none of them.
    """
    called = konfig.parse_call(text)
    kinds = {"int": Int, "float": Float, "choice": Choice}
    if called is None or called[0] not in kinds:
        near = errors.did_you_mean(called[0], kinds) if called else ""
        raise StudyError(
            f"`{text}` is no range of values.{near} There are `int(8,64)`, "
            "`int(8,512,log)`, `int(0,64,step=16)`, `float(1e-4,1e-1,log)`, "
            "`float(0,1,step=0.1)` and `choice(relu,gelu)`."
        )
    kind, args = called
    if kind == "choice":
        return Choice(args)
    options: dict[str, Any] = {}
    for arg in args[2:]:
        name, _, value = str(arg).partition("=")
        if name == "log" and not value:
            options["log"] = True
        elif name == "step" and value:
            called_step = konfig.parse_call(f"step({value})")
            options["step"] = called_step and called_step[1][0]
        else:
            raise StudyError(
                f"`{text}`: {arg!r} is unknown. After the two ends may come `log` and "
                "`step=...`."
            )
    if len(args) < 2:
        raise StudyError(f"`{text}`: two ends are needed, such as `{kind}(1,8)`.")
    return kinds[kind](args[0], args[1], **options)


def _check_range(values: Int | Float, kind: Any, name: str) -> None:
    given = [values.low, values.high]
    given += [] if values.step is None else [values.step]
    shown = f"`{values}`"
    for number in given:
        is_number = isinstance(number, kind) and not isinstance(number, bool)
        if not is_number or not math.isfinite(number):
            raise StudyError(f"{shown}: {number!r} is none of the {name} it takes.")
    if values.low > values.high:
        raise StudyError(
            f"{shown} is empty: the smaller end comes first, `{type(values).__name__.lower()}"
            f"({values.high},{values.low})`."
        )
    if values.step is not None and values.step <= 0:
        raise StudyError(f"{shown}: the step is above 0.")
    if values.log and values.low <= 0:
        raise StudyError(f"{shown}: with `log`, both ends are above 0.")
    if values.log and values.step not in (None, 1):
        raise StudyError(f"{shown}: `log` and `step` don't go together.")
