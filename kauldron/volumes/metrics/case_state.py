"""States keyed by case: parts of cases that are put together, then values, then means.

The value of a case does not depend on the parts (patches, slabs) in which it came: sums are
exact, so that their order does not matter. Where a case is undefined (a region that is
empty in both), it is NaN, left out of the means, and counted.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from kauldron import kontext, metrics
from kauldron.ktyping import Bool, Num
from kauldron.metrics import exact_sums
from kauldron.volumes.geometry.errors import VolumeError

Direction = Literal["max", "min"]


@flax.struct.dataclass
class CaseState(metrics.AutoState["CaseMetric"]):
    """What was counted of parts of cases, as rows; the value is a mean over cases.

    Attributes:
      parts: Sums of one part of a case, of each class, `Num["n classes k"]`.
      case: Its name: strings `Array["n"]`, UTF-8 bytes `UInt8["n length"]`, or numbers
        `Int["n"]`; `None` if every row is a case of its own.
      is_counted: Which rows count.
    """

    parts: Num["n classes k"] = metrics.concat_field()
    case: Any = metrics.concat_field()
    is_counted: Bool["*n"] = metrics.concat_field()

    def table(self) -> dict[str, dict[str, float]]:
        """Returns case -> class -> value, NaN where it is undefined.

        The one class of a metric without classes is `''`.
        """
        state = self.finalize()
        names = self.parent.class_names()
        if not isinstance(state.parts, np.ndarray):
            return {}
        rows: dict[str, list[np.ndarray]] = {}
        counted = np.flatnonzero(state.is_counted)
        for place, row in enumerate(counted):
            name = str(place) if state.case is None else _name(state.case[row])
            rows.setdefault(name, []).append(state.parts[row])
        table = {}
        for name, parts in rows.items():
            if len(parts) > 1 and self.parent.needs_whole_cases:
                raise VolumeError(
                    f"{type(self.parent).__name__} measures whole cases, and {name!r} "
                    f"came in {len(parts)} parts: evaluate whole volumes."
                )
            values = self.parent.values_of(_sum(parts))
            table[name] = dict(zip(names, np.asarray(values).tolist(), strict=True))
        return table

    def compute(self) -> Any:
        """Returns the mean over cases; with classes, a dict.

        That is the mean of each class over the cases in which it is defined, `mean`, the
        mean of these, and `num_undefined`, how many values of a case and a class are not
        defined and therefore left out.
        """
        table = self.table()
        names = self.parent.class_names()
        values = np.array([[row[n] for n in names] for row in table.values()])
        values = values.reshape(-1, len(names))
        means = [_mean(column) for column in values.T]
        if names == [""]:
            return means[0]
        return {
            **dict(zip(names, means, strict=True)),
            "mean": _mean(np.array(means)),
            "num_undefined": np.count_nonzero(np.isnan(values)),
        }


def _sum(parts: Sequence[np.ndarray]) -> np.ndarray:
    """Returns exact sums of rows: the same for any order and any grouping of them."""
    stacked = np.stack(parts).astype(np.float64)
    columns = stacked.reshape(len(parts), -1).T.tolist()
    return np.array([_fsum(c) for c in columns]).reshape(stacked.shape[1:])


def _fsum(column: list[float]) -> float:
    is_finite = all(map(math.isfinite, column))
    return math.fsum(column) if is_finite else float(np.sum(column))


def _mean(values: np.ndarray) -> np.ndarray:
    """Returns the mean of those that are defined, NaN if none is."""
    values = values[~np.isnan(values)]
    return np.asarray(values.mean() if values.size else np.nan)


def _name(case: Any) -> str:
    if isinstance(case, np.ndarray) and case.dtype == np.uint8:
        return bytes(case).rstrip(b"\0").decode()
    if isinstance(case, np.ndarray):
        return str(case.item())
    return case.decode() if isinstance(case, bytes) else str(case)


@dataclasses.dataclass(frozen=True, kw_only=True)
class CaseMetric(metrics.Metric):
    """Base of metrics with a value for each case.

    Attributes:
      case: Key to the names of the cases, strings, UTF-8 bytes `UInt8["b n"]` or numbers;
        without it, every example is a case of its own. Parts of one case are put together.
      mask: Key to which examples count, `Array["b"]` or `Array["b 1"]`.
    """

    case: kontext.Key | None = None
    mask: kontext.Key | None = None

    State = CaseState

    # Whether a larger or a smaller value is better.
    direction: ClassVar[Direction]
    # Whether parts of a case cannot be put together.
    needs_whole_cases: ClassVar[bool] = False

    def get_state(self, **kwargs: Any) -> CaseState:
        raise NotImplementedError(f"{type(self).__qualname__} must define get_state().")

    def class_names(self) -> list[str]:
        """Returns the names of the classes; `['']` if there is only one value."""
        return [""]

    def values_of(self, sums: np.ndarray) -> np.ndarray:
        """Returns the value of each class, `f64[classes]`, from sums `[classes k]`."""
        raise NotImplementedError(f"{type(self).__qualname__} must define values_of().")

    def __metric_names__(self) -> list[str] | None:
        names = self.class_names()
        return None if names == [""] else [*names, "mean", "num_undefined"]

    def _to_state(self, parts: Any, case: Any, mask: Any) -> CaseState:
        """Returns the state of parts `[b parts classes k]`."""
        num, repeats = parts.shape[:2]
        xp = jnp if exact_sums.is_traced(parts) else np
        is_counted = xp.ones(num, bool)
        if mask is not None:
            is_counted = xp.reshape(xp.asarray(mask), num).astype(bool)
        if case is None and repeats > 1:
            raise VolumeError(
                f"{type(self).__name__} needs `case`, the key to the names of the cases: "
                "each comes in several parts."
            )
        if case is not None:
            case = case if isinstance(case, jax.Array) else np.asarray(case)
            case = xp.repeat(case.reshape(num, *case.shape[1:2]), repeats, axis=0)
        state = self.State(
            parts=parts.reshape(num * repeats, *parts.shape[2:]),
            case=case,
            is_counted=xp.repeat(is_counted, repeats),
        )
        return self._attach(state)


def names_of(classes: Mapping[str, int] | Sequence[int]) -> dict[str, int]:
    """Returns name -> label.

    Raises:
      VolumeError: If a label is no integer, or there are none.
    """
    if isinstance(classes, Mapping):
        named = dict(classes)
    else:
        named = {str(label): label for label in classes}
    is_wrong = any(not isinstance(x, int | np.integer) for x in named.values())
    if not named or is_wrong or len(named) != len(classes):
        raise VolumeError(
            "`classes` are labels, or a dict from name to label: got "
            f"{classes!r}. For instance, (1, 2) or {{'liver': 1}}."
        )
    return {str(name): int(label) for name, label in named.items()}
