"""Conversion plan: what becomes of each tensor and variable, before anything is read."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from kauldron._base import errors
from kauldron.checkpoints import _dtype_changes, _errors, _shape_changes, _source_paths
from kauldron.checkpoints import _plan as _loading
from kauldron.checkpoints.pretrained import _layout, _uses

_MAX_LINES = 6


@dataclasses.dataclass(frozen=True, kw_only=True)
class Choices:
    """What may differ, see `PretrainedWeights` for the attributes."""

    ignore_model_keys: Sequence[str] = ()
    ignore_restored_keys: Sequence[str] = ()
    resize: Mapping[str, _shape_changes.Resizer] = dataclasses.field(
        default_factory=dict
    )

    def is_kept(self, ours: str) -> bool:
        return _source_paths.matches(self.ignore_model_keys, ours)

    def is_left_out(self, theirs: str) -> bool:
        return _source_paths.matches(self.ignore_restored_keys, theirs)

    def resizer(self, ours: str) -> _shape_changes.Resizer | None:
        return _loading.first_match(self.resize, ours)


@dataclasses.dataclass(frozen=True)
class Plan:
    """What happens to each variable.

    Attributes:
      uses: The uses of rules that make variables.
      resized: Variable -> what makes it fit.
      kept: Variable -> why it keeps its initial value.
      skipped: Tensors that are left out as requested.
    """

    uses: Sequence[_uses.Use]
    resized: Mapping[str, _shape_changes.Resizer]
    kept: Mapping[str, str]
    skipped: Sequence[str]


class _Planner:
    """Collects a plan and its problems.

    Args:
      layout: The layout of the file.
      theirs: Tensor -> spec.
      ours: Variable -> array or spec.
      choices: What may differ.
    """

    def __init__(
        self,
        layout: _layout.Layout,
        theirs: Mapping[str, jax.ShapeDtypeStruct],
        ours: Mapping[str, Any],
        choices: Choices,
    ) -> None:
        self._layout = layout
        self._theirs = theirs
        self._ours = ours
        self._choices = choices
        self._shapes = {name: tuple(np.shape(leaf)) for name, leaf in ours.items()}
        self._claimed: set[str] = set()
        self._filled: set[str] = set()
        self._resized: dict[str, _shape_changes.Resizer] = {}
        self._kept: dict[str, str] = {}
        self._misfits: list[str] = []

    def make(self) -> Plan:
        """Returns the plan.

        Raises:
          CheckpointError: If a tensor or a variable has no counterpart, or one of
            another shape or kind of numbers.
        """
        every = list(_uses.find_uses(self._layout.rules, self._theirs, self._shapes))
        done = [use for use in every if self._take(use)]
        unfilled, unused = self._unfilled(every), self._unused(every)
        sections = (self._misfits, unfilled, unused)
        if any(sections):
            lines = "".join(_errors.listing(s, max_lines=_MAX_LINES) for s in sections)
            raise _errors.CheckpointError(lines)
        skipped = [n for n in self._theirs if self._choices.is_left_out(n)]
        skipped = [name for name in skipped if name not in self._claimed]
        return Plan(done, self._resized, self._kept, skipped)

    def _take(self, use: _uses.Use) -> bool:
        """Decides on a use; returns whether its tensors are to be read."""
        if not all(name in self._theirs for name in use.all_theirs):
            return False
        if not all(name in self._ours for name in use.ours):
            return False
        self._claimed |= set(use.all_theirs)
        wanted = [name for name in use.ours if name not in self._filled]
        self._filled |= set(wanted)
        kept = [name for name in wanted if self._choices.is_kept(name)]
        self._kept |= dict.fromkeys(kept, "ignored")
        wanted = [name for name in wanted if name not in kept]
        if not wanted:
            return False
        try:
            made = use.specs_of_ours(self._theirs, self._shapes)
        except _errors.CheckpointError as e:
            self._misfits += [self._misfit(name, use, str(e)) for name in wanted]
            return False
        fitting = [self._fits(name, made[name], use) for name in wanted]
        return any(fitting)

    def _fits(self, name: str, made: jax.ShapeDtypeStruct, use: _uses.Use) -> bool:
        leaf = self._ours[name]
        problem = _dtype_changes.mismatch(leaf, made)
        if problem is None:
            return True
        resizer = self._choices.resizer(name)
        if _dtype_changes.dtype_mismatch(leaf, made) or resizer is None:
            self._misfits.append(self._misfit(name, use, None))
            return False
        if not resizer.needs_saved:
            self._kept[name] = "other shape"
            return False
        self._resized[name] = resizer
        return True

    def _misfit(self, name: str, use: _uses.Use, problem: str | None) -> str:
        first = use.all_theirs[0]
        more = f" and {len(use.all_theirs) - 1} more" if len(use.all_theirs) > 1 else ""
        reason = f": {problem}" if problem else ""
        return (
            f"{name}: expected {_dtype_changes.describe(self._ours[name])}, but "
            f"{first!r}{more} is {_dtype_changes.describe(self._theirs[first])}{reason}"
        )

    def _unfilled(self, every: Sequence[_uses.Use]) -> list[str]:
        """Returns a line for each variable that nothing fills."""
        sources: dict[str, str] = {}
        for use in every:
            lacking = [name for name in use.all_theirs if name not in self._theirs]
            for name in use.ours if lacking else ():
                sources.setdefault(name, lacking[0])
        lines = []
        for name in self._ours:
            if name in self._filled:
                continue
            if self._choices.is_kept(name):
                self._kept[name] = "ignored"
                continue
            source = sources.get(name)
            if source is None:
                lines.append(f"{name}: no rule makes it")
            else:
                near = [n for n in self._theirs if n not in self._claimed]
                hint = "" if lines else errors.did_you_mean(source, near)
                lines.append(f"{name}: no {source!r} in the file.{hint}")
        return lines

    def _unused(self, every: Sequence[_uses.Use]) -> list[str]:
        """Returns a line for each tensor that fills nothing."""
        targets: dict[str, str] = {}
        told: set[str] = set()  # with a variable that lacks another tensor, too
        for use in every:
            lacking = [name for name in use.ours if name not in self._ours]
            if lacking:
                targets |= dict.fromkeys(use.all_theirs, lacking[0])
            elif not self._filled.issuperset(use.ours):
                told |= set(use.all_theirs)
        lines = []
        for name, spec in self._theirs.items():
            if name in self._claimed or self._layout.is_unused(name):
                continue
            if self._choices.is_left_out(name) or name in told:
                continue
            target = targets.get(name)
            if target and self._choices.is_kept(target):
                continue
            why = f"the model has no {target!r}" if target else "no rule uses it"
            lines.append(f"{name}, {_dtype_changes.describe(spec)}: {why}")
        return lines


def make(
    layout: _layout.Layout,
    theirs: Mapping[str, jax.ShapeDtypeStruct],
    ours: Mapping[str, Any],
    choices: Choices,
) -> Plan:
    """Returns what becomes of each tensor and variable, see `_Planner`."""
    return _Planner(layout, theirs, ours, choices).make()
