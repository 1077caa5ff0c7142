"""Orbax's part of a save: handlers, and what they write of each item.

Imported when the first checkpoint is written, because Orbax takes a second to import.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from etils import epath

from kauldron.checkpoints import _checksums, _layout, items
from kauldron.ktyping import PyTree

_TIMEOUT_SECS = 30 * 60
_FOLDER_MODE = 0o770


class _Handler(ocp.CompositeCheckpointHandler):
    """Writes checksums when all files are there, before the folder gets its name.

    Orbax calls this in its background thread, on one process, when the others have
    written their files.
    """

    def finalize(self, directory: epath.Path) -> None:
        super().finalize(directory)
        _checksums.write(directory)


@ocp.args.register_with_handler(_Handler, for_save=True, for_restore=True)
class _SaveArgs(ocp.args.Composite):
    """Makes Orbax choose our handler."""


def make_checkpointer(options: Any) -> ocp.AsyncCheckpointer:
    """Returns what saves in the background.

    Args:
      options: Orbax's for several processes, `None` for its own.
    """
    options = options or ocp.options.MultiprocessingOptions()
    registry = ocp.DefaultCheckpointHandlerRegistry()
    # The file name that Orbax's own manager looks for.
    metrics = ocp.JsonCheckpointHandler("metrics")
    registry.add(_layout.METRICS_ITEM, ocp.args.JsonSave, metrics)
    # Trained floats do not compress: 8 % of them is saved, and it takes as long as all the
    # rest of reading. Orbax compresses what is saved with `StandardSave`.
    plain = ocp.PyTreeCheckpointHandler(
        use_compression=False, multiprocessing_options=options
    )
    registry.add(None, ocp.args.PyTreeSave, plain)
    return ocp.AsyncCheckpointer(
        _Handler(
            composite_options=ocp.CompositeOptions(multiprocessing_options=options),
            handler_registry=registry,
        ),
        async_options=ocp.AsyncOptions(timeout_secs=_TIMEOUT_SECS),
        multiprocessing_options=options,
        file_options=ocp.options.FileOptions(path_permission_mode=_FOLDER_MODE),
    )


def save(
    checkpointer: ocp.AsyncCheckpointer,
    path: epath.Path,
    *,
    trees: Mapping[str, PyTree],
    states: Mapping[str, Any],
    own: Mapping[str, items.CheckpointItem],
    compress: bool,
) -> None:
    """Starts to write a step.

    Args:
      checkpointer: Of `make_checkpointer`.
      path: Folder of the step.
      trees: Name -> arrays.
      states: Name -> what is stored as JSON.
      own: Name -> an item that says itself how it is stored.
      compress: Whether arrays are compressed.
    """
    args = {
        **{
            name: ocp.args.StandardSave(tree)
            if compress
            else ocp.args.PyTreeSave(jax.tree.map(_as_array, tree))
            for name, tree in trees.items()
        },
        **{name: ocp.args.JsonSave(state) for name, state in states.items()},
        **{name: item.__kd_ocp_save_args__() for name, item in own.items()},
    }
    checkpointer.save(path, args=_SaveArgs(**args), force=_layout.is_remote(path))


def _as_array(leaf: Any) -> Any:
    """Returns an array for a number of NumPy, which Orbax has no handler for."""
    return np.asarray(leaf) if isinstance(leaf, np.generic) else leaf
