"""Reading the checkpoints of a run that another process writes and removes."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from typing import Any, TypeVar

import jax
import numpy as np
from etils import epath

from kauldron import errors, sharding
from kauldron.checkpoints import _structure, items

_StateT = TypeVar("_StateT")

_STEP_NAME = re.compile(r"ckpt_(\d+)")


class CheckpointMismatchError(errors.UserError, ValueError):
    """A checkpoint holds another state than the one that is expected."""


class CheckpointGoneError(FileNotFoundError):
    """A checkpoint was removed, possibly while it was read."""


class CheckpointReader:
    """The checkpoints of a run, as they are now; never changes them.

    Orbax's manager cleans up what looks unfinished, and so would take from the process
    that trains what it is writing. This looks at the folders itself.

    Args:
      workdir: Directory of the run. It may not exist yet.
    """

    def __init__(self, workdir: epath.PathLike) -> None:
        text = os.fspath(epath.Path(workdir) / "checkpoints")
        self.directory = epath.Path(text if "://" in text else os.path.abspath(text))

    def steps(self) -> list[int]:
        """Returns the complete steps, ascending."""
        try:
            paths = list(self.directory.iterdir())
        except (FileNotFoundError, NotADirectoryError):
            return []
        # Where folders cannot be renamed, Orbax writes this file last.
        is_remote = "://" in os.fspath(self.directory)
        return sorted(
            int(match[1])
            for path in paths
            if (match := _STEP_NAME.fullmatch(path.name))
            and (not is_remote or (path / "commit_success.txt").exists())
        )

    def path(self, step: int) -> epath.Path:
        """Returns the folder of a step."""
        return self.directory / f"ckpt_{step}"

    def restore(self, specs: _StateT, *, step: int) -> _StateT:
        """Returns a saved state.

        Args:
          specs: The expected state, of `jax.ShapeDtypeStruct`s with shardings or of
            arrays. What is `None` there is not read.
          step: Which step.

        Raises:
          CheckpointGoneError: If the step is not there, or was removed meanwhile.
          CheckpointMismatchError: If the checkpoint holds another structure.
        """
        with self.guard(step):
            return _read(specs, self.path(step) / items.DEFAULT_NAME)

    @contextlib.contextmanager
    def guard(self, step: int) -> Iterator[None]:
        """Makes sure that a checkpoint stays whole while the block reads it.

        Raises:
          CheckpointGoneError: If the step is not there, or was removed meanwhile.
        """
        folder = self.path(step)
        files = _sizes(folder)
        if not files:
            raise CheckpointGoneError(f"There is no checkpoint {os.fspath(folder)!r}.")
        gone = CheckpointGoneError(
            f"The checkpoint {os.fspath(folder)!r} was removed while it was read."
        )
        try:
            yield
        except Exception as e:
            if _sizes(folder) != files:
                raise gone from e
            raise
        # Missing pieces of arrays are read as zeros, without an error. Files of a
        # checkpoint never come back: if all are there now, all were.
        if _sizes(folder) != files:
            raise gone

    def copy_to(self, target: CheckpointReader, *, step: int) -> None:
        """Copies a checkpoint to another place; links where possible.

        Raises:
          CheckpointGoneError: If the step is not there, or was removed meanwhile.
        """
        if step in target.steps():
            return
        temporary = target.directory / "copying"
        if temporary.exists():  # a killed process was
            temporary.rmtree()
        with self.guard(step):
            for name in _sizes(self.path(step)):
                (temporary / name).parent.mkdir(parents=True, exist_ok=True)
                _link_or_copy(self.path(step) / name, temporary / name)
        temporary.rename(target.path(step))


def _read(specs: Any, item_dir: epath.Path) -> Any:
    import orbax.checkpoint as ocp

    saved = ocp.StandardCheckpointHandler().metadata(item_dir).tree
    wanted = {_name(path): leaf for path, leaf in _leaves(specs)}
    parts = {name.split(".")[0] for name in wanted}
    lines = _structure.differences(specs, item_dir)
    lines = [s for s in lines if s.split(":")[0].split(".")[0] in parts]
    if lines:
        shown = [*lines[:8], f"and {len(lines) - 8} more"][: min(len(lines), 9)]
        raise CheckpointMismatchError(
            f"The checkpoint {os.fspath(item_dir)!r} does not fit this config:\n  "
            + "\n  ".join(shown)
            + "\nUse the model and optimizer it was saved with, or another workdir."
        )

    def item_of(path: Any, leaf: Any) -> Any:
        return wanted.get(_name(path), ocp.PLACEHOLDER)

    def args_of(path: Any, leaf: Any) -> ocp.RestoreArgs:
        spec = wanted.get(_name(path))
        if spec is None:
            return ocp.RestoreArgs(restore_type=np.ndarray)
        return ocp.ArrayRestoreArgs(
            dtype=spec.dtype,
            sharding=spec.sharding or sharding.REPLICATED,
            global_shape=tuple(spec.shape),
        )

    restored = ocp.PyTreeCheckpointHandler().restore(
        item_dir,
        args=ocp.args.PyTreeRestore(
            item=jax.tree_util.tree_map_with_path(item_of, saved),
            restore_args=jax.tree_util.tree_map_with_path(args_of, saved),
        ),
    )
    found = {_name(path): leaf for path, leaf in _leaves(restored)}
    return jax.tree_util.tree_map_with_path(lambda p, _: found[_name(p)], specs)


def _leaves(tree: Any) -> list[Any]:
    return jax.tree_util.tree_leaves_with_path(tree)


def _name(path: Any) -> str:
    return jax.tree_util.keystr(path, simple=True, separator=".")


def _sizes(folder: epath.Path) -> dict[str, int]:
    """Returns the size of every file below a folder, by relative path."""
    try:
        return {
            os.fspath(path.relative_to(folder)): path.stat().length
            for path in _files(folder)
        }
    except (FileNotFoundError, NotADirectoryError):  # removed meanwhile
        return {}


def _files(folder: epath.Path) -> Iterator[epath.Path]:
    for path in folder.iterdir():
        if path.is_dir():
            yield from _files(path)
        else:
            yield path


def _link_or_copy(source: epath.Path, target: epath.Path) -> None:
    if "://" not in os.fspath(source):
        try:
            os.link(source, target)
        except FileNotFoundError:
            raise
        except OSError:  # another file system, or one without links
            pass
        else:
            return
    source.copy(target)
