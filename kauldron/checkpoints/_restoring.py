"""Restoring the items of one step."""

from __future__ import annotations

import concurrent.futures
import json
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import jax
import numpy as np
from etils import epath

from kauldron._base import console
from kauldron.checkpoints import (
    _arrays,
    _checksums,
    _errors,
    _layout,
    _structure,
    items,
)
from kauldron.ktyping import Array, PyTree

_T = TypeVar("_T")


def restore_step(
    step: int, folder: epath.Path, state: PyTree, *, donate: bool, parts: bool = False
) -> Any:
    """Returns what was saved at a step, see `Checkpointer.restore`.

    Args:
      step: Which step.
      folder: Its folder.
      state: What to restore.
      donate: Whether the arrays of `state` are deleted before.
      parts: Whether fields of `state` may be `None`, which are not read then.

    Raises:
      DamagedCheckpointError: If files are not what was written.
      CheckpointError: If the checkpoint does not match `state`.
    """
    named = items.to_items(state)

    def read_trees() -> dict[str, Any]:
        return _read_trees(named, folder, donate=donate, parts=parts)

    if jax.process_count() > 1:
        problems, trees = _damage_found_by_lead(folder), read_trees
    else:
        problems, trees = _read_while_verifying(folder, read_trees)
    if problems:
        raise _errors.DamagedCheckpointError(step, folder, problems)
    try:
        restored = {**trees(), **_read_others(named, folder)}
        return items.from_items(state, restored)
    except (_errors.CheckpointError, jax.errors.JaxRuntimeError, MemoryError):
        raise
    except Exception as e:
        # With good checksums the files are not damaged. Without any, they are suspect;
        # but with several processes, each could come to a different conclusion.
        if problems is not None or jax.process_count() > 1:
            raise
        line = f"{type(e).__name__}: {str(e).strip().splitlines()[0] if str(e) else ''}"
        raise _errors.DamagedCheckpointError(step, folder, [line]) from e


def _read_while_verifying(
    folder: epath.Path, read: Callable[[], _T]
) -> tuple[list[str] | None, Callable[[], _T]]:
    """Reads a step while its files are compared with their checksums.

    Returns:
      What is wrong with files, see `_checksums.find_damage`, and what returns what was
      read, or raises what went wrong then.
    """
    outcome: concurrent.futures.Future[_T] = concurrent.futures.Future()
    with _checksums.Verification(folder) as verification:
        if not verification.known_problems():
            try:
                outcome.set_result(read())
            except MemoryError:
                raise
            except Exception as e:
                outcome.set_exception(e)
        return verification.problems(), outcome.result


def newest_intact(
    steps: Sequence[int],
    restore: Callable[[int], _T],
    *,
    on_damage: Callable[[int], None] = lambda step: None,
) -> tuple[int, _T]:
    """Returns the first restorable step and its contents; reports the others.

    Args:
      steps: Steps to try, at least one: usually the newest first.
      restore: Restores a step.
      on_damage: Called with a step that is damaged.

    Raises:
      DamagedCheckpointError: If the only step is damaged.
      CheckpointError: If all of several are.
    """
    errors: list[_errors.DamagedCheckpointError] = []
    for step in steps:
        try:
            return step, restore(step)
        except _errors.DamagedCheckpointError as e:
            on_damage(step)
            errors.append(e)
            if len(steps) > 1 and console.is_lead_host():
                console.warn(f"{e}\nThe step before it is used.")
    if len(errors) == 1:
        raise errors[0]
    raise _errors.CheckpointError(
        f"All checkpoints in {os.fspath(errors[0].folder.parent)!r} are damaged: steps "
        f"{[e.step for e in errors]}. Choose another `--cfg.workdir=...` to start "
        "over, or bring the files back from a copy."
    ) from errors[0]


def _damage_found_by_lead(folder: epath.Path) -> list[str] | None:
    """Like `_checksums.find_damage` of several processes, of which the first checks."""
    from jax.experimental import multihost_utils

    problems = _checksums.find_damage(folder) if console.is_lead_host() else None
    code = -1 if problems is None else len(problems)
    code = int(multihost_utils.broadcast_one_to_all(np.int32(code)))
    if code <= 0:
        return None if code < 0 else []
    return problems or [f"{code} bad files, found by the first process"]


def _read_trees(
    named: Mapping[str, Any], folder: epath.Path, *, donate: bool, parts: bool
) -> dict[str, Any]:
    """Reads the items that are arrays.

    Raises:
      CheckpointError: If the checkpoint does not match.
    """
    metadata = _matching_metadata(named, folder, parts=parts)
    restored = {}
    for name, (item_dir, tree) in metadata.items():
        if items.StandardCheckpointItem.is_untyped(named[name]):
            restored[name] = _arrays.read_tree(item_dir)
            continue
        wanted = jax.tree.map(_target, named[name])
        if donate:
            _delete_arrays(named[name])
        restored[name] = _arrays.read_as(wanted, item_dir, tree)
    return restored


def _matching_metadata(
    named: Mapping[str, Any], folder: epath.Path, *, parts: bool
) -> dict[str, tuple[epath.Path, Any]]:
    """Returns `{name: (folder, metadata)}` of the items that are arrays."""
    found: dict[str, tuple[epath.Path, Any]] = {}
    lines: list[str] = []
    for name, item in named.items():
        if _is_self_made(item):
            continue
        item_dir = _layout.find_item(folder, name)
        if item_dir is None:
            lines.append(f"there is no item {name!r}")
            continue
        tree = _arrays.metadata(item_dir)
        if not items.StandardCheckpointItem.is_untyped(item):
            lines += _structure.differences(item, item_dir, parts=parts, tree=tree)
        found[name] = item_dir, tree
    if lines:
        raise _errors.MismatchError(
            f"The checkpoint {os.fspath(folder)!r} does not fit this run:"
            f"{_errors.listing(lines)}\nContinue it with the model and optimizer it was "
            "saved with, or choose another `--cfg.workdir=...`. To start from parts of "
            "it, see `kd.ckpts.PartialKauldronLoader`."
        )
    return found


def _is_self_made(item: PyTree) -> bool:
    return isinstance(item, items.Stateful | items.CheckpointItem)


def _read_others(named: Mapping[str, Any], folder: epath.Path) -> dict[str, Any]:
    """Restores small states, and items that say how they are stored."""
    restored = {}
    for name, item in named.items():
        item_dir = _layout.find_item(folder, name)
        if isinstance(item, items.CheckpointItem):
            restored[name] = _read_checkpoint_item(item, item_dir, name)
        elif isinstance(item, items.Stateful):
            _set_state(item, item_dir, name, is_published=_layout.is_published(folder))
            restored[name] = item
    return restored


def _target(leaf: Array) -> Any:
    if isinstance(leaf, jax.Array):
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding)
    return leaf


def _set_state(
    item: items.Stateful,
    item_dir: epath.Path | None,
    name: str,
    *,
    is_published: bool,
) -> None:
    """Restores a small state, which checkpoints of older or other programs may lack."""
    if item_dir is None:
        console.log(f"The checkpoint holds no {name!r}: it starts anew.")
        return
    try:
        item.set_state(json.loads((item_dir / "metadata").read_text()))
    except Exception as e:
        if not is_published:
            e.add_note(f"While restoring {name!r}.")
            raise
        console.log(f"The checkpoint's {name!r} is of another program: it starts anew.")


def _read_checkpoint_item(item: PyTree, item_dir: epath.Path | None, name: str) -> Any:
    import orbax.checkpoint as ocp

    if item_dir is None:
        raise _errors.CheckpointError(f"The checkpoint holds no {name!r}.")
    args = item.__kd_ocp_restore_args__()
    handler = ocp.args.get_registered_handler_cls(args)()
    value = handler.restore(item_dir, args=args)
    post = getattr(item, "__kd_ocp_restore_post__", None)
    return value if post is None else post(value)


def _delete_arrays(tree: PyTree) -> None:
    for leaf in jax.tree.leaves(tree):
        if isinstance(leaf, jax.Array) and not leaf.is_deleted():
            leaf.delete()
