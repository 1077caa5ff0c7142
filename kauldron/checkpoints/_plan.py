"""What is loaded from another run into which leaf, decided before anything is read."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from kauldron import errors
from kauldron.checkpoints import _errors, _renaming, _resizing


@dataclasses.dataclass(frozen=True)
class Plan:
    """What happens to every leaf that a rule names.

    Attributes:
      loads: Name in the state -> name in the checkpoint; shapes are the same.
      resizes: Name in the state -> name in the checkpoint and how it is made to fit.
      kept: Name in the state -> why it keeps its initial value.
      skipped: Names in the checkpoint that are asked to be ignored.
    """

    loads: Mapping[str, str]
    resizes: Mapping[str, tuple[str, _resizing.Resizer]]
    kept: Mapping[str, str]
    skipped: Sequence[str]


def make(
    state: Mapping[str, Any],
    saved: Mapping[str, Any],
    *,
    rules: Sequence[_renaming.Rule],
    ignore_model_keys: Sequence[str],
    ignore_restored_keys: Sequence[str],
    resize: Mapping[str, _resizing.Resizer],
) -> Plan:
    """Decides for all leaves.

    Args:
      state: Name -> anything with `shape` and `dtype`, of the leaves to decide about.
      saved: The same, of all leaves of the checkpoint.
      rules: Where leaves come from.
      ignore_model_keys: Globs of leaves that keep their initial value.
      ignore_restored_keys: Globs of leaves of the checkpoint that may stay unused.
      resize: Glob of leaves -> how those of another shape are made to fit.

    Raises:
      CheckpointError: If something doesn't fit; it names all leaves.
    """
    loads: dict[str, str] = {}
    resizes: dict[str, tuple[str, _resizing.Resizer]] = {}
    kept: dict[str, str] = {}
    used: set[str] = set()
    problems: list[str] = []
    for new, leaf in state.items():
        old = _renaming.old_path(rules, new)
        if old is None:
            continue
        used.add(old)
        if _renaming.matches(ignore_model_keys, new):
            kept[new] = "ignored"
        elif old not in saved:
            hint = "" if problems else errors.did_you_mean(old, saved)
            problems.append(f"{new}: {old!r} is not in the checkpoint.{hint}")
        elif (problem := mismatch(leaf, saved[old])) is None:
            loads[new] = old
        elif not _same_kind(leaf, saved[old]) or not (resizer := _resizer(resize, new)):
            problems.append(f"{new}: {problem}")
        elif resizer.needs_saved:
            resizes[new] = (old, resizer)
        else:
            kept[new] = "other shape"
    claimed = [n for n in saved if n not in used and any(r.claims(n) for r in rules)]
    skipped = [n for n in claimed if _renaming.matches(ignore_restored_keys, n)]
    problems += [
        f"{n}: {describe(saved[n])} in the checkpoint, nothing to load it into"
        for n in claimed
        if n not in set(skipped)
    ]
    if problems:
        raise _errors.CheckpointError(_errors.listing(problems))
    return Plan(loads, resizes, kept, skipped)


def describe(leaf: Any) -> str:
    """Returns dtype and shape, as `float32[4, 3]`."""
    dtype = getattr(leaf, "dtype", None)
    name = getattr(dtype, "name", None) or str(dtype)
    return f"{name}[{', '.join(map(str, _shape(leaf)))}]"


def mismatch(expected: Any, found: Any) -> str | None:
    """Returns how a saved array differs from the one expected, `None` if it fits.

    A float may be saved with another precision, an integer with another size.
    """
    if _same_kind(expected, found) and _shape(expected) == _shape(found):
        return None
    return f"{describe(found)} in the checkpoint, expected {describe(expected)}"


def _same_kind(expected: Any, found: Any) -> bool:
    kinds = {_kind(getattr(leaf, "dtype", None)) for leaf in (expected, found)}
    return len(kinds) == 1 or None in kinds


def _shape(leaf: Any) -> tuple[int, ...]:
    return tuple(getattr(leaf, "shape", None) or ())


def _kind(dtype: Any) -> str | None:
    if dtype is None:
        return None
    try:
        kinds = (np.bool_, jnp.integer, jnp.floating, jnp.complexfloating)
        return next((k.__name__ for k in kinds if jnp.issubdtype(dtype, k)), str(dtype))
    except TypeError:
        return str(dtype)


def _resizer(
    resize: Mapping[str, _resizing.Resizer], name: str
) -> _resizing.Resizer | None:
    return next(
        (r for glob, r in resize.items() if _renaming.matches([glob], name)), None
    )
