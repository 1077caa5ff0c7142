"""Load plan: which leaf is loaded from where, decided before anything is read."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from kauldron._base import errors
from kauldron.checkpoints import _dtype_changes, _errors, _shape_changes, _source_paths
from kauldron.ktyping import Array

# From the array as it was saved to the one that is loaded.
ArrayFn = Callable[[np.ndarray], np.ndarray]
_T = TypeVar("_T")


@dataclasses.dataclass(frozen=True)
class Plan:
    """What happens to every leaf that a rule names.

    Attributes:
      loads: Name in the state -> name in the checkpoint; shapes are the same.
      resizes: Name in the state -> name in the checkpoint and how it is made to fit.
      transforms: Name in the state -> name in the checkpoint and what is done to it.
      kept: Name in the state -> why it keeps its initial value.
      skipped: Names in the checkpoint that are asked to be ignored.
    """

    loads: Mapping[str, str]
    resizes: Mapping[str, tuple[str, _shape_changes.Resizer]]
    transforms: Mapping[str, tuple[str, ArrayFn]]
    kept: Mapping[str, str]
    skipped: Sequence[str]


def make(
    state: Mapping[str, Any],
    saved: Mapping[str, Any],
    *,
    rules: Sequence[_source_paths.Rule],
    ignore_model_keys: Sequence[str],
    ignore_restored_keys: Sequence[str],
    resize: Mapping[str, _shape_changes.Resizer],
    transform: Mapping[str, ArrayFn],
) -> Plan:
    """Decides for all leaves.

    Args:
      state: Name -> anything with `shape` and `dtype`, of the leaves to decide about.
      saved: The same, of all leaves of the checkpoint.
      rules: Where leaves come from.
      ignore_model_keys: Globs of leaves that keep their initial value.
      ignore_restored_keys: Globs of leaves of the checkpoint that may stay unused.
      resize: Glob of leaves -> how those of another shape are made to fit.
      transform: Glob of leaves -> what is done to the saved arrays first.

    Raises:
      CheckpointError: If something doesn't fit; it names all leaves.
    """
    loads: dict[str, str] = {}
    resizes: dict[str, tuple[str, _shape_changes.Resizer]] = {}
    transforms: dict[str, tuple[str, ArrayFn]] = {}
    kept: dict[str, str] = {}
    used: set[str] = set()
    problems: list[str] = []
    for new, leaf in state.items():
        old = _source_paths.old_path(rules, new)
        if old is None:
            continue
        used.add(old)
        if _source_paths.matches(ignore_model_keys, new):
            kept[new] = "ignored"
        elif old not in saved:
            hint = "" if problems else errors.did_you_mean(old, saved)
            problems.append(f"{new}: {old!r} is not in the checkpoint.{hint}")
        elif function := first_match(transform, new):
            transforms[new] = (old, function)
        elif (problem := _dtype_changes.mismatch(leaf, saved[old])) is None:
            if doubt := _layout_doubt(new, old, saved[old]):
                problems.append(f"{new}: {doubt}")
            loads[new] = old
        elif _dtype_changes.dtype_mismatch(leaf, saved[old]) or not (
            resizer := first_match(resize, new)
        ):
            problems.append(f"{new}: {problem}")
        elif resizer.needs_saved:
            resizes[new] = (old, resizer)
        else:
            kept[new] = "other shape"
    claimed = [n for n in saved if n not in used and any(r.claims(n) for r in rules)]
    skipped = [n for n in claimed if _source_paths.matches(ignore_restored_keys, n)]
    problems += [_unused(n, saved[n]) for n in claimed if n not in set(skipped)]
    if problems:
        raise _errors.CheckpointError(_errors.listing(problems))
    return Plan(loads, resizes, transforms, kept, skipped)


def _unused(name: str, saved: Array) -> str:
    return f"{name}: {_dtype_changes.describe(saved)} in the checkpoint, nothing to load it into"


def first_match(by_glob: Mapping[str, _T], name: str) -> _T | None:
    """Returns the value of the first glob that matches a name."""
    return next(
        (x for glob, x in by_glob.items() if _source_paths.matches([glob], name)), None
    )


def _layout_doubt(new: str, old: str, saved: Array) -> str | None:
    """Returns why an array that fits may still be transposed.

    PyTorch keeps a `weight` as `[out, in, *space]`, Flax a `kernel` as
    `[*space, in, out]`. If the sizes are equal, the shape does not show which it is.
    """
    names = (new.rpartition(".")[2], old.rpartition(".")[2])
    shape = tuple(saved.shape)
    if names != ("kernel", "weight") or len(shape) < 2:
        return None
    if (*shape[2:], shape[1], shape[0]) != shape:
        return None
    axes = tuple(range(len(shape)))
    return (
        f"{_dtype_changes.describe(saved)} of {old!r} fits as it is and turned. Files of "
        f"PyTorch have [out, in, ...], here it is [..., in, out]: say which, "
        f"`transform={{{new!r}: kd.ckpts.TorchKernel()}}`, or, to take it as it is, "
        f"`kd.ckpts.Transpose(axes={axes})`."
    )
