"""Published API for runs named by XManager id, for which there is no database here."""

from __future__ import annotations

from etils import epath

from kauldron.checkpoints import _errors


def workdir_from_xid(xid: int, wid: int = 1) -> epath.Path:
    """Always raises: experiment ids are known to XManager alone, which is not used here.

    Args:
      xid: Experiment id.
      wid: Work unit.

    Raises:
      CheckpointError: Always.
    """
    raise _errors.CheckpointError(
        f"Nobody knows where the run {xid}/{wid} is: experiment ids belong to XManager, "
        "which this package does not use. Give its directory instead, "
        "`workdir='runs/my_run'`."
    )
