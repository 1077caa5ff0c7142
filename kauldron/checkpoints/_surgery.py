"""Checkpoint surgery: copies source arrays into the leaves of a state."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from kauldron._base import console, errors, text_tables
from kauldron.checkpoints import (
    _arrays,
    _dtype_changes,
    _errors,
    _names,
    _plan,
    _shape_changes,
    _source_paths,
    _sources,
)
from kauldron.ktyping import Array
from kauldron.sharding import TrainState

OPT_STATE = "opt_state"
FIELDS = ("step", "params", "collections", OPT_STATE)
_MAX_ROWS = 20


@dataclasses.dataclass(frozen=True)
class Surgery:
    """What is copied where, see `PartialKauldronLoader` for the attributes.

    Raises:
      CheckpointError: If a rule cannot be understood.
    """

    new_to_old: Mapping[str, str]
    ignore_model_keys: Sequence[str]
    ignore_restored_keys: Sequence[str]
    resize: Mapping[str, _shape_changes.Resizer]
    transform: Mapping[str, _plan.ArrayFn]

    def __post_init__(self) -> None:
        check_lists_of_globs(self)
        check_resizers(self.resize)
        for rule in self._rules:
            if rule.root is not None and rule.root not in FIELDS:
                raise _errors.CheckpointError(
                    f"`new_to_old`: {rule.new!r} is no path in a state, which has "
                    f"{', '.join(FIELDS)}.{errors.did_you_mean(rule.root, FIELDS)}"
                )

    @property
    def _rules(self) -> list[_source_paths.Rule]:
        return _source_paths.make_rules(self.new_to_old)

    def check(self, state: TrainState, source: _sources.Source) -> None:
        """Finds what does not fit, where names, shapes and dtypes say it.

        Args:
          state: Of `jax.ShapeDtypeStruct`s, or arrays.
          source: What is loaded; only its specs are read.
        """
        self._check_names(list(_arrays.flatten(state)))
        self._plan(state, source, self._other_rules, is_opt_state=False)
        self._plan(state, source, self._opt_state_rules, is_opt_state=True)

    def before_optimizer(
        self, state: TrainState, source: _sources.Source
    ) -> TrainState:
        """Loads all but the state of the optimizer."""
        if not self._opt_state_rules:
            self._check_globs(state)
        return self._load(state, source, self._other_rules, is_opt_state=False)

    def after_optimizer(self, state: TrainState, source: _sources.Source) -> TrainState:
        """Loads the state of the optimizer."""
        rules = self._opt_state_rules
        if rules:
            self._check_globs(state)
        return self._load(state, source, rules, is_opt_state=True)

    @property
    def _other_rules(self) -> list[_source_paths.Rule]:
        return [rule for rule in self._rules if rule.root != OPT_STATE]

    @property
    def _opt_state_rules(self) -> list[_source_paths.Rule]:
        return [rule for rule in self._rules if rule.root in (OPT_STATE, None)]

    def _check_globs(self, state: TrainState) -> None:
        """Finds globs that no leaf of this run matches, when all leaves are there.

        Those of `ignore_model_keys` are told only: a list may be made for several models.
        """
        names = list(_arrays.flatten(state))
        self._check_names(names)
        try:
            check_globs_match("ignore_model_keys", self.ignore_model_keys, names)
        except _errors.CheckpointError as e:
            if console.is_lead_host():
                console.warn(str(e))

    def _check_names(self, names: Sequence[str]) -> None:
        """Finds globs, and rules for no one field, that match none of all leaves."""
        for field in ("resize", "transform"):
            check_globs_match(field, getattr(self, field), names)
        for rule in self._rules:  # those of a field are looked at with its leaves
            if rule.root is None and not any(rule.old_path(name) for name in names):
                raise _errors.CheckpointError(_no_such_leaf(rule, names))

    def _load(
        self,
        state: TrainState,
        source: _sources.Source,
        rules: Sequence[_source_paths.Rule],
        *,
        is_opt_state: bool,
    ) -> TrainState:
        planned = self._plan(state, source, rules, is_opt_state=is_opt_state)
        if planned is None:
            return state
        leaves, plan = planned
        with _explaining(source):
            loaded = _read(source, plan, leaves, self.resize)
        if console.is_lead_host():
            console.log(f"From {source.name}:\n{_table(plan, leaves)}")
        return jax.tree_util.tree_map_with_path(
            lambda path, leaf: loaded.get(_names.name_of(path), leaf), state
        )

    def _plan(
        self,
        state: TrainState,
        source: _sources.Source,
        rules: Sequence[_source_paths.Rule],
        *,
        is_opt_state: bool,
    ) -> tuple[dict[str, Any], _plan.Plan] | None:
        """Returns the leaves that rules are for, and what becomes of each."""
        if not rules or (is_opt_state and state.opt_state is None):
            return None
        leaves = {
            name: leaf
            for name, leaf in _arrays.flatten(state).items()
            if (name.split(".")[0] == OPT_STATE) == is_opt_state
        }
        _check_rules_match(rules, leaves)
        with _explaining(source):
            plan = _plan.make(
                leaves,
                source.specs(),
                rules=rules,
                ignore_model_keys=self.ignore_model_keys,
                ignore_restored_keys=self.ignore_restored_keys,
                resize=self.resize,
                transform=self.transform,
            )
        return leaves, plan


@contextlib.contextmanager
def _explaining(source: _sources.Source) -> Iterator[None]:
    """Says of an error what is to be changed."""
    try:
        yield
    except _errors.CheckpointError as e:
        lines = str(e) if str(e).startswith("\n") else _errors.listing([str(e)])
        raise _errors.CheckpointError(
            f"{source.name!r} does not fit this run:{lines}\nChange "
            "`new_to_old`, keep initial values with `ignore_model_keys`, leave out "
            "saved ones with `ignore_restored_keys`, or change arrays with "
            "`resize` and `transform`."
        ) from None


def check_lists_of_globs(loader: object) -> None:
    """Finds a text where a list of them belongs.

    Raises:
      CheckpointError: If there is one.
    """
    for name in ("ignore_model_keys", "ignore_restored_keys"):
        if isinstance(getattr(loader, name), str):
            raise _errors.CheckpointError(
                f"`{name}` is a list of globs: got {getattr(loader, name)!r}."
            )


def check_resizers(resize: object) -> None:
    """Finds something else than a resizer in `resize`.

    Raises:
      CheckpointError: If there is one.
    """
    if not isinstance(resize, Mapping):
        raise _errors.CheckpointError(
            f"`resize` is a dict, {{glob: kd.ckpts.KeepInit()}}: got {resize!r}."
        )
    for glob, resizer in resize.items():
        if not isinstance(resizer, _shape_changes.Resizer):
            raise _errors.CheckpointError(
                f"`resize[{glob!r}]` must be a resizer, such as `kd.ckpts.KeepInit()` or "
                f"`kd.ckpts.CopyOverlap()`: got {resizer!r}."
            )


def check_globs_match(
    field: str, globs: Iterable[str], names: Sequence[str], *, where: str = "this run"
) -> None:
    """Finds globs of a field that match no leaf.

    Args:
      field: Name of the field.
      globs: Its globs.
      names: Of the leaves.
      where: What has the leaves.

    Raises:
      CheckpointError: If there is one; it names the nearest.
    """
    for glob in globs:
        if not any(_source_paths.matches([glob], name) for name in names):
            parts = dict.fromkeys(p for name in names for p in name.split("."))
            near = [*_arrays.prefixes(names), *parts]
            raise _errors.CheckpointError(
                f"`{field}`: nothing in {where} is called {glob!r}."
                f"{errors.did_you_mean(glob, near)}"
            )


def _check_rules_match(
    rules: Sequence[_source_paths.Rule], leaves: Mapping[str, Any]
) -> None:
    for rule in rules:
        # A whole field may be empty: a model without collections.
        if rule.root is None or _source_paths.normalize(rule.new) in FIELDS:
            continue
        if not any(rule.old_path(name) for name in leaves):
            raise _errors.CheckpointError(_no_such_leaf(rule, leaves))


def _no_such_leaf(rule: _source_paths.Rule, names: Iterable[str]) -> str:
    near = errors.did_you_mean(rule.new, _arrays.prefixes(names))
    return f"`new_to_old`: nothing in this run is called {rule.new!r}.{near}"


def _read(
    source: _sources.Source,
    plan: _plan.Plan,
    leaves: Mapping[str, Any],
    resize: Mapping[str, _shape_changes.Resizer],
) -> dict[str, Any]:
    """Returns the new value of each leaf that changes."""
    changed = {**plan.resizes, **plan.transforms}
    uses = collections.Counter(
        [*plan.loads.values(), *(old for old, _ in changed.values())]
    )
    wanted: dict[str, Any] = {}
    for new, old in plan.loads.items():
        # An array that several leaves take, each with its own dtype and placement, is
        # read once.
        is_direct = isinstance(leaves[new], jax.Array) and uses[old] == 1
        wanted[old] = _target(leaves[new]) if is_direct else None
    wanted |= {old: None for old, _ in changed.values()}
    values = source.read(wanted) if wanted else {}
    result = {}
    for new, old in plan.loads.items():
        is_direct = wanted[old] is not None
        value = values[old]
        result[new] = value if is_direct else _arrays.to_leaf(value, leaves[new], new)
    for new, (old, resizer) in plan.resizes.items():
        resized = _resized(new, resizer, values[old], leaves[new])
        result[new] = _arrays.to_leaf(resized, leaves[new], new)
    transformed = {
        new: _transformed(new, function, values[old], leaves[new], resize)
        for new, (old, function) in plan.transforms.items()
    }
    problems = [
        f"{new}: after `transform`, {problem}"
        for new, value in transformed.items()
        if (problem := _dtype_changes.mismatch(leaves[new], value))
    ]
    if problems:
        raise _errors.CheckpointError(_errors.listing(problems))
    for new, value in transformed.items():
        result[new] = _arrays.to_leaf(value, leaves[new], new)
    return result


def _transformed(
    new: str,
    function: _plan.ArrayFn,
    saved: np.ndarray,
    leaf: Array,
    resize: Mapping[str, _shape_changes.Resizer],
) -> np.ndarray:
    """Returns the result of a function on a saved array, resized if requested."""
    try:
        value = np.asarray(function(saved))
    except Exception as e:
        e.add_note(f"In `transform`, for {new!r}, of {_dtype_changes.describe(saved)}.")
        raise
    resizer = _plan.first_match(resize, new)
    if value.shape == np.shape(leaf) or resizer is None:
        return value
    return _resized(new, resizer, value, leaf)


def _resized(
    new: str, resizer: _shape_changes.Resizer, saved: np.ndarray, leaf: Array
) -> np.ndarray:
    try:
        return resizer.resize(saved, np.asarray(leaf))
    except _errors.CheckpointError as e:
        e.add_note(f"In `resize`, for {new!r}.")
        raise


def _target(leaf: jax.Array) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding)


def _table(plan: _plan.Plan, leaves: Mapping[str, Any]) -> str:
    """Returns a row per subtree and outcome: how many arrays, how large."""
    outcomes = {
        **dict.fromkeys(plan.loads, "loaded"),
        **{new: f"loaded, {type(r).__name__}" for new, (_, r) in plan.resizes.items()},
        **{new: f"loaded, {_label(f)}" for new, (_, f) in plan.transforms.items()},
        **{new: f"kept ({why})" for new, why in plan.kept.items()},
        **dict.fromkeys(plan.skipped, "ignored in the checkpoint"),
    }
    rows: dict[tuple[str, str], list[int]] = {}
    for name, outcome in outcomes.items():
        row = rows.setdefault((".".join(name.split(".")[:2]), outcome), [0, 0])
        row[0] += 1
        if name in leaves:
            data = _dtype_changes.as_saved(leaves[name])
            row[1] += math.prod(data.shape) * np.dtype(data.dtype).itemsize
    width = max((len(group) for group, _ in rows), default=0)
    lines = [
        f"  {group:<{width}}  {count:>4} arrays  {_size(num_bytes):>9}  {outcome}"
        for (group, outcome), (count, num_bytes) in rows.items()
    ]
    if len(lines) > _MAX_ROWS:
        lines = [*lines[:_MAX_ROWS], f"  and {len(lines) - _MAX_ROWS} more"]
    return "\n".join(lines) or "  nothing"


def _label(function: _plan.ArrayFn) -> str:
    """Returns a function's name, or the class of one that is an object."""
    return getattr(function, "__name__", type(function).__name__)


def _size(num_bytes: int) -> str:
    return text_tables.format_bytes(num_bytes) if num_bytes else ""
