"""Loading parts of another run into the initial state."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath

from kauldron import errors
from kauldron.checkpoints import (
    _arrays,
    _errors,
    _init_transforms,
    _layout,
    _plan,
    _renaming,
    _resizing,
    items,
)
from kauldron.train import state as state_lib
from kauldron.utils import status_utils

_OPT_STATE = "opt_state"
_FIELDS = ("step", "params", "collections", _OPT_STATE)
_MAX_ROWS = 20


def _default_mapping() -> dict[str, str]:
    return {"params": "params", "collections": "collections"}


@dataclasses.dataclass(frozen=True)
class PartialKauldronLoader(_init_transforms.InitTransform):
    """Copies parts of another run's checkpoint into the initial state.

    Only what is named is read. Values take the dtype and the sharding that they have in
    this run. A table on the screen says what was loaded, kept and ignored. What is
    under `opt_state` is loaded when the optimizer has made its own.

    Paths are written with dots and name a leaf or a subtree. `*` is any text inside one
    part, `**` any number of parts; on the right they stand for what they stood for on
    the left. A left side `re:...` is a regular expression for whole paths, with groups
    that the right side takes as `\\1`. If several sides on the left know a leaf, the
    last one decides.

    Attributes:
      workdir: Directory of the other run.
      new_to_old: Path in this run -> path in the other one.
      ignore_model_keys: Globs, matched at any depth, of leaves of this run that keep
        their initial value.
      ignore_restored_keys: Globs, matched at any depth, of leaves of the other run that
        are loaded into nothing.
      step: Which step of the other run; -1 is the newest.
      lightweight_initialize: Accepted for compatibility.
      resize: Glob of leaves of this run -> what to do if their shape has changed, such as
        `kd.ckpts.InterpolatePositions()`.

    Raises:
      NoCheckpointError: If there is no such run or step.
      CheckpointError: If a leaf has no counterpart or another shape.

    Example: the relaunch of a run, and an encoder under another name.

    ```python
    kd.ckpts.PartialKauldronLoader(
        workdir="runs/a",
        new_to_old={k: k for k in ("step", "params", "collections", "opt_state")},
    )
    kd.ckpts.PartialKauldronLoader(
        workdir="runs/a",
        new_to_old={"params.encoder.layer_*": "params.trunk.block*"},
        resize={"pos_embedding": kd.ckpts.InterpolatePositions()},
    )
    ```
    """

    workdir: epath.PathLike
    new_to_old: Mapping[str, str] = dataclasses.field(default_factory=_default_mapping)
    ignore_model_keys: Sequence[str] = ()
    ignore_restored_keys: Sequence[str] = ()
    step: int = -1
    lightweight_initialize: bool = False
    resize: Mapping[str, _resizing.Resizer] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("ignore_model_keys", "ignore_restored_keys"):
            if isinstance(getattr(self, name), str):
                raise _errors.CheckpointError(
                    f"`{name}` is a list of globs: got {getattr(self, name)!r}."
                )
        for rule in _renaming.make_rules(self.new_to_old):
            if rule.root is not None and rule.root not in _FIELDS:
                raise _errors.CheckpointError(
                    f"`new_to_old`: {rule.new!r} is no path in a state, which has "
                    f"{', '.join(_FIELDS)}.{errors.did_you_mean(rule.root, _FIELDS)}"
                )

    def transform(self, state: state_lib.TrainState) -> state_lib.TrainState:
        return self._load(
            state,
            [r for r in _renaming.make_rules(self.new_to_old) if r.root != _OPT_STATE],
            is_opt_state=False,
        )

    def transform_after_optimizer(
        self, state: state_lib.TrainState
    ) -> state_lib.TrainState:
        rules = [
            rule
            for rule in _renaming.make_rules(self.new_to_old)
            if rule.root in (_OPT_STATE, None)
        ]
        if state.opt_state is None:
            return state
        return self._load(state, rules, is_opt_state=True)

    def _load(
        self,
        state: state_lib.TrainState,
        rules: Sequence[_renaming.Rule],
        *,
        is_opt_state: bool,
    ) -> state_lib.TrainState:
        if not rules:
            return state
        leaves = {
            name: leaf
            for name, leaf in _arrays.flatten(state).items()
            if (name.split(".")[0] == _OPT_STATE) == is_opt_state
        }
        _, folder = _layout.open_step(self.workdir, self.step)
        _check_rules_match(rules, leaves)
        item_dir = _layout.find_item(folder, items.DEFAULT_NAME)
        if item_dir is None:
            raise _errors.CheckpointError(f"{os.fspath(folder)!r} holds no state.")
        try:
            plan = _plan.make(
                {name: _as_spec(leaf) for name, leaf in leaves.items()},
                _arrays.flatten(_arrays.metadata(item_dir)),
                rules=rules,
                ignore_model_keys=self.ignore_model_keys,
                ignore_restored_keys=self.ignore_restored_keys,
                resize=self.resize,
            )
        except _errors.CheckpointError as e:
            raise _errors.CheckpointError(
                f"{os.fspath(folder)!r} does not fit this run:{e}\nChange "
                "`new_to_old`, keep initial values with `ignore_model_keys`, leave out "
                "saved ones with `ignore_restored_keys`, or change shapes with "
                "`resize`."
            ) from None
        loaded = _read(item_dir, plan, leaves)
        if status_utils.is_lead_host():
            status_utils.log(f"From {folder}:\n{_table(plan, leaves)}")
        return jax.tree_util.tree_map_with_path(
            lambda path, leaf: loaded.get(_arrays.path_str(path), leaf), state
        )


@dataclasses.dataclass(frozen=True)
class SimpleCheckpointLoader(_init_transforms.InitTransform):
    """Loads the parameters and collections of another run as they are, not its step.

    Attributes:
      workdir: Directory of the other run.
      step: Which step of the other run; -1 is the newest.
      load_opt_state: Whether the state of the optimizer is loaded, too.

    Raises:
      NoCheckpointError: If there is no such run or step.
      CheckpointError: If the other run has other parameters.
    """

    workdir: epath.PathLike
    step: int = -1
    load_opt_state: bool = False

    @property
    def _loader(self) -> PartialKauldronLoader:
        names = [
            "params",
            "collections",
            *([_OPT_STATE] if self.load_opt_state else []),
        ]
        return PartialKauldronLoader(
            workdir=self.workdir,
            new_to_old={name: name for name in names},
            step=self.step,
        )

    def transform(self, state: state_lib.TrainState) -> state_lib.TrainState:
        return self._loader.transform(state)

    def transform_after_optimizer(
        self, state: state_lib.TrainState
    ) -> state_lib.TrainState:
        return self._loader.transform_after_optimizer(state)


def _check_rules_match(
    rules: Sequence[_renaming.Rule], leaves: Mapping[str, Any]
) -> None:
    for rule in rules:
        # A whole field may be empty: a model without collections.
        if rule.root is None or _renaming.normalize(rule.new) in _FIELDS:
            continue
        if not any(rule.old_path(name) for name in leaves):
            known = {
                ".".join(name.split(".")[:depth])
                for name in leaves
                for depth in range(1, name.count(".") + 2)
            }
            raise _errors.CheckpointError(
                f"`new_to_old`: nothing in this run is called {rule.new!r}."
                f"{errors.did_you_mean(rule.new, sorted(known))}"
            )


def _as_spec(leaf: Any) -> Any:
    return leaf if hasattr(leaf, "shape") else np.asarray(leaf)


def _read(
    item_dir: epath.Path, plan: _plan.Plan, leaves: Mapping[str, Any]
) -> dict[str, Any]:
    """Returns the new value of each leaf that changes."""
    wanted: dict[str, jax.ShapeDtypeStruct | None] = {}
    for old, _ in plan.resizes.values():
        wanted[old] = None
    direct = {}  # read as they are needed; several leaves may share a source
    for new, old in plan.loads.items():
        leaf = leaves[new]
        if isinstance(leaf, jax.Array) and old not in wanted:
            wanted[old] = _target(leaf)
            direct[new] = old
        else:
            wanted.setdefault(old, None)
    values = _arrays.read(item_dir, wanted) if wanted else {}
    result = {new: values[old] for new, old in direct.items()}
    for new, old in plan.loads.items():
        if new not in direct:
            result[new] = _like(leaves[new], np.asarray(values[old]))
    for new, (old, resizer) in plan.resizes.items():
        try:
            value = resizer.resize(values[old], np.asarray(leaves[new]))
        except _errors.CheckpointError as e:
            e.add_note(f"In `resize`, for {new!r}.")
            raise
        result[new] = _like(leaves[new], value)
    return result


def _target(leaf: jax.Array) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding)


def _like(leaf: Any, value: np.ndarray) -> Any:
    """Returns a host value as the kind of thing that the leaf is."""
    if isinstance(leaf, jax.Array):
        value = value.astype(leaf.dtype)
        return jax.make_array_from_callback(
            leaf.shape, leaf.sharding, lambda index: value[index]
        )
    if isinstance(leaf, np.ndarray | np.generic):
        return value.astype(leaf.dtype)
    return type(leaf)(value.item())


def _table(plan: _plan.Plan, leaves: Mapping[str, Any]) -> str:
    """Returns a row per subtree and outcome: how many arrays, how large."""
    outcomes = {
        **dict.fromkeys(plan.loads, "loaded"),
        **{new: f"loaded, {type(r).__name__}" for new, (_, r) in plan.resizes.items()},
        **{new: f"kept ({why})" for new, why in plan.kept.items()},
        **dict.fromkeys(plan.skipped, "ignored in the checkpoint"),
    }
    rows: dict[tuple[str, str], list[int]] = {}
    for name, outcome in outcomes.items():
        row = rows.setdefault((".".join(name.split(".")[:2]), outcome), [0, 0])
        row[0] += 1
        leaf = _as_spec(leaves[name]) if name in leaves else None
        if leaf is not None:
            row[1] += math.prod(leaf.shape) * jnp.dtype(leaf.dtype).itemsize
    width = max((len(group) for group, _ in rows), default=0)
    lines = [
        f"  {group:<{width}}  {count:>4} arrays  {_size(num_bytes):>9}  {outcome}"
        for (group, outcome), (count, num_bytes) in rows.items()
    ]
    if len(lines) > _MAX_ROWS:
        lines = [*lines[:_MAX_ROWS], f"  and {len(lines) - _MAX_ROWS} more"]
    return "\n".join(lines) or "  nothing"


def _size(num_bytes: int) -> str:
    return f"{num_bytes / 1e6:.1f} MB" if num_bytes else ""
