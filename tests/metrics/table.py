"""A table of measurements: members x dtypes x awkward inputs, each against an oracle.

A member is one `Member` with one oracle. `mismatches(member)` measures it with labels of
every integer dtype, scores and masks of every float dtype, and with inputs that have a
rule of their own (`docs/metrics.md`): masked NaN, -inf, labels that are no class, classes
that don't occur, no example at all.

All examples have the same shapes and nothing is jitted: every operation is compiled once
for all members.
"""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from kauldron import metrics

NUM_EXAMPLES = 12
LABELS = ("uint8", "int8", "int16", "uint16", "int64", "bool", "int32")
SCORES = ("bfloat16", "float16", "float32")
MASKS = ("bool", "uint8", "int8", "int32", "bfloat16", "float16", "float32")

# Exact in every dtype. Some examples don't count.
_WEIGHTS = np.array([1, 0, 2, 1, 1, 0, 1, 3, 1, 0, 1, 2.0])
_FRACTIONS = np.array([1, 0, 0.5, 1, 1, 0, 0.25, 3, 1, 0, 1.5, 1])
_NONE = np.zeros(NUM_EXAMPLES)


@dataclasses.dataclass(frozen=True, eq=False)
class Member:
    """A loss, metric or summary, and what its value is by other means.

    Attributes:
      metric: The member.
      inputs: Function `(rng, num_examples) -> arguments` without the mask, floats in
        f64, labels in i64. The examples are the first axis.
      oracle: Function `(weights, **arguments) -> value`. Only examples that count are
        passed. `weights` is `f64[n]`, or has the shape of `labels`, of which single ones
        may be 0. Scores are f64, rounded as the member saw them. A NaN in a row of logits
        is passed on if `nan_score` is `'wrong'`.
      labels: Argument with class ids -> number of classes.
      scores: Arguments with floats.
      nan_score: What a NaN among the scores of an example that counts does.
      of_nothing: Value if nothing counts.
      rtol: Tolerance, of sums in f32; also the absolute one.
      takes_mask: Whether there is a mask.
      takes_weights: Whether the mask may be something else than 0 and 1.
      ignored: Field with the label that does not count; `None` if there is none.
    """

    metric: metrics.Metric
    inputs: Callable[[np.random.Generator, int], dict[str, np.ndarray]]
    oracle: Callable[..., Any]
    labels: Mapping[str, int] = dataclasses.field(default_factory=dict)
    scores: tuple[str, ...] = ("logits",)
    nan_score: Literal["nan", "wrong"] = "nan"
    of_nothing: Any = np.nan
    rtol: float = 2e-5
    takes_mask: bool = True
    takes_weights: bool = True
    ignored: str | None = "ignored_label"

    @property
    def name(self) -> str:
        return type(self.metric).__name__


@dataclasses.dataclass(frozen=True, eq=False)
class Cell:
    """One measurement.

    Attributes:
      name: What is special.
      inputs: Arguments in f64 and i64.
      weights: `f64[n]`; `None` for no mask.
      dtypes: Dtypes of labels, scores, mask.
      expected: A value in the place of the oracle's.
      error: Regular expression of the `LabelError` that is expected.
      ignored: Label that is set to be ignored.
    """

    name: str
    inputs: dict[str, np.ndarray]
    weights: np.ndarray | None = None
    dtypes: tuple[str, str, str] = ("int32", "float32", "float32")
    expected: Any = None
    error: str | None = None
    ignored: int | None = None


def mismatches(member: Member) -> list[str]:
    """Returns a line for every cell where the member does not give what it should."""
    problems = []
    for cell in _cells(member):
        try:
            problem = _check(member, cell)
        except Exception as e:  # the table goes on
            problem = f"{type(e).__name__}: {e}"
        if problem:
            problems.append(f"{member.name}, {cell.name}, {cell.dtypes}: {problem}")
    return problems


def _check(member: Member, cell: Cell) -> str:
    inputs, weights = _cast(member, cell)
    metric = member.metric
    if cell.ignored is not None:
        metric = dataclasses.replace(metric, **{str(member.ignored): cell.ignored})
    given = inputs if weights is None else {**inputs, "mask": weights[:, None]}
    try:
        value = metric.get_state(**given).finalize().compute()
    except metrics.LabelError as e:
        found = cell.error is not None and re.search(cell.error, str(e))
        return "" if found else f"raised {e}"
    if cell.error is not None:
        return f"gave {value}, should have raised {cell.error!r}"
    expected = cell.expected
    if expected is None:
        expected = _expected(member, cell, inputs, weights)
    try:
        _assert_close(value, expected, rtol=member.rtol)
    except AssertionError:
        return f"gave {value}, expected {expected}"
    return ""


def _assert_close(actual: Any, expected: Any, *, rtol: float) -> None:
    if not isinstance(expected, dict) and isinstance(actual, dict):
        expected = dict.fromkeys(actual, expected)
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol)


def _cast(member: Member, cell: Cell) -> tuple[dict[str, Any], Any]:
    labels, scores, mask = cell.dtypes
    inputs: dict[str, Any] = {}
    for name, x in cell.inputs.items():
        dtype = labels if name in member.labels else scores
        is_given = name in member.labels or name in member.scores
        inputs[name] = np.asarray(x).astype(jnp.dtype(dtype)) if is_given else x
    weights = cell.weights
    return inputs, None if weights is None else weights.astype(jnp.dtype(mask))


def _expected(member: Member, cell: Cell, inputs: dict[str, Any], weights: Any) -> Any:
    """Returns the value of the oracle of what counts."""
    size = len(next(iter(inputs.values())))
    weights = np.ones(size) if weights is None else np.asarray(weights, np.float64)
    if "labels" in member.labels:
        labels = np.asarray(inputs["labels"])
        weights = weights.reshape(-1, *(1,) * (labels.ndim - 1))
        is_ignored = False if cell.ignored is None else labels == cell.ignored
        weights = np.where(is_ignored, 0, np.broadcast_to(weights, labels.shape))
    keep = (weights > 0).reshape(size, -1).any(axis=-1) if size else np.zeros(0, bool)
    if not keep.any():
        return member.of_nothing
    exact = {}
    for name, x in inputs.items():
        dtype = np.int64 if name in member.labels else np.float64
        exact[name] = np.asarray(x, dtype)[keep]
    if "labels" in member.labels:  # an oracle need not know what is ignored
        exact["labels"] = np.where(weights[keep] == 0, 0, exact["labels"])
    return member.oracle(weights[keep], **exact)


def _cells(member: Member) -> Iterator[Cell]:
    inputs = member.inputs(np.random.default_rng(0), NUM_EXAMPLES)
    yield from _dtype_cells(member, inputs)
    yield from _score_cells(member, inputs)
    if member.labels:
        yield from _label_cells(member, inputs)
    nothing = {name: x[:0] for name, x in inputs.items()}
    yield Cell("no example", nothing)
    yield Cell("one example", {name: x[:1] for name, x in inputs.items()})
    if member.takes_mask:
        yield Cell("all masked", inputs, _NONE)
        yield Cell("no example, a mask", nothing, _NONE[:0])


def _dtype_cells(member: Member, inputs: dict[str, np.ndarray]) -> Iterator[Cell]:
    """Every dtype of labels, scores and mask; masked NaN in each of them."""
    spoilt = _spoil(member, inputs)
    choices = [(label, "float32") for label in LABELS] if member.labels else []
    choices += [("int32", score) for score in SCORES] if member.scores else []
    for label, score in choices:
        given = _to_bool(member, inputs) if label == "bool" else inputs
        yield Cell("plain", given, None, (label, score, "float32"))
        if member.takes_mask:
            hidden = given if label == "bool" else spoilt
            yield Cell("masked", hidden, _ones_and_zeros(), (label, score, "bool"))
    for mask in MASKS if member.takes_mask else ():
        weights = _FRACTIONS if "float" in mask else _WEIGHTS
        if mask == "bool" or not member.takes_weights:
            weights = _ones_and_zeros()
        for score in SCORES[:1]:
            yield Cell("weighted", spoilt, weights, ("int32", score, mask))


def _score_cells(member: Member, inputs: dict[str, np.ndarray]) -> Iterator[Cell]:
    for name in member.scores:
        bad = {**inputs, name: _with(inputs[name], 2, np.nan)}
        expected = np.nan if member.nan_score == "nan" else None
        yield Cell(f"NaN in {name}", bad, expected=expected)
        everything = {**inputs, name: np.full_like(inputs[name], np.nan)}
        yield Cell(f"all {name} are NaN", everything, expected=expected)
    if "logits" not in member.scores:
        return
    logits = inputs["logits"]
    if logits.shape[-1] > 1:
        closed = logits.copy()
        closed[::3, ..., 0] = -np.inf
        opened = _open_labels(inputs, closed)
        for score in SCORES:
            yield Cell("-inf", opened, None, ("int32", score, "float32"))
    for scale in (60.0, 1000.0):
        far = {**inputs, "logits": np.round(logits) * scale}
        for score in SCORES:
            yield Cell(f"+-{scale}", far, None, ("int32", score, "float32"))


def _open_labels(
    inputs: dict[str, np.ndarray], logits: np.ndarray
) -> dict[str, np.ndarray]:
    """Returns inputs whose true classes are not at -inf."""
    labels = inputs.get("labels")
    if labels is not None and labels.shape == (*logits.shape[:-1], 1):
        at = np.take_along_axis(logits, labels, axis=-1)
        inputs = {**inputs, "labels": np.where(np.isneginf(at), 1, labels)}
    return {**inputs, "logits": logits}


def _label_cells(member: Member, inputs: dict[str, np.ndarray]) -> Iterator[Cell]:
    for (name, size), dtype in itertools.product(member.labels.items(), LABELS):
        dtypes = (dtype, "float32", "bool")
        labels = inputs[name]
        for bad in (-1, size):
            is_possible = dtype != "bool" and (bad >= 0 or not dtype.startswith("u"))
            if not is_possible:
                continue
            wrong = {**inputs, name: _with(labels, 1, bad)}
            error = (
                rf"{member.name}: 1 label of `{name}` .* in \[0, {size}\): got {bad}\."
            )
            yield Cell(f"{name} {bad}", wrong, None, dtypes, error=error)
            if member.takes_mask:  # example 1 does not count
                masked = (wrong, _ones_and_zeros(), dtypes)
                yield Cell(f"masked {name} {bad}", *masked)
            if member.ignored is not None and name == "labels":
                cell = Cell(f"ignored {bad}", wrong, None, dtypes, ignored=bad)
                yield cell
    labels = inputs["labels"]
    size = member.labels["labels"]
    without = {**inputs, "labels": np.where(labels == size - 1, 0, labels)}
    yield Cell("a class that does not occur", without)
    for label in (0, size - 1):
        yield Cell("one class only", {**inputs, "labels": np.full_like(labels, label)})


def _spoil(member: Member, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns inputs with NaN where the masks of this file are 0."""
    spoilt = dict(inputs)
    for name in member.scores:
        x = inputs[name].copy()
        x[_WEIGHTS == 0] = np.nan
        spoilt[name] = x
    return spoilt


def _to_bool(member: Member, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {k: x % 2 if k in member.labels else x for k, x in inputs.items()}


def _with(x: np.ndarray, example: int, value: float) -> np.ndarray:
    """Returns a copy with one other entry in one example."""
    x = x.copy()
    x[(example, *(0,) * (x.ndim - 1))] = value
    return x


def _ones_and_zeros() -> np.ndarray:
    return (_WEIGHTS > 0).astype(np.float64)
