"""Orbax's part of a save: handlers, and what they write of each item.

Imported when the first checkpoint is written, because Orbax takes a second to import.
"""

from __future__ import annotations

import copy
import threading
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
_MIN_SLICE_BYTES = 2**20

# Orbax numbers saves by one counter of the process, which what a save starts reads again:
# of two that begin at once, one waits for signals that are sent to the other.
_ONE_BEGINS_AT_A_TIME = threading.Lock()


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


class _TypeHandlers(ocp.type_handlers.TypeHandlerRegistry):
    """Orbax's, which leave small arrays whole.

    Of an array that all devices hold alike, Orbax takes a slice from each device. Each of
    them is a program of its own: the first save of a small model on eight devices would
    compile hundreds, while the loop waits.
    """

    def __init__(self) -> None:
        self._of_arrays = copy.copy(ocp.type_handlers.get_type_handler(jax.Array))
        if jax.process_count() == 1:  # several share what they write, however small
            # An argument of its class; but not all others that Orbax gives are public.
            option = "_min_slice_bytes_for_replica_parallel"
            vars(self._of_arrays)[option] = _MIN_SLICE_BYTES

    def get(self, ty: Any) -> ocp.type_handlers.TypeHandler:
        found = ocp.type_handlers.get_type_handler(ty)
        is_ours = found is ocp.type_handlers.get_type_handler(jax.Array)
        return self._of_arrays if is_ours else found

    def has(self, ty: Any) -> bool:
        return ocp.type_handlers.has_type_handler(ty)

    def add(self, *args: Any, **kwargs: Any) -> None:
        ocp.type_handlers.register_type_handler(*args, **kwargs)


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
        use_compression=False,
        multiprocessing_options=options,
        type_handler_registry=_TypeHandlers(),
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
    with _ONE_BEGINS_AT_A_TIME:
        checkpointer.save(path, args=_SaveArgs(**args), force=_layout.is_remote(path))


def _as_array(leaf: Any) -> Any:
    """Returns an array for a number of NumPy, which Orbax has no handler for."""
    return np.asarray(leaf) if isinstance(leaf, np.generic) else leaf
