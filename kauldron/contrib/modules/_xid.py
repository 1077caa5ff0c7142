"""Published API for models of runs named by XManager id, which cannot be found here."""

from __future__ import annotations

from typing import Any

from kauldron._base import console


def get_model_from_xid(xid: int, wid: int = 1, **kwargs: Any) -> Any:
    """Always raises `NoXManagerError`; `kd.train.workdirs.get_resolved` does it."""
    del kwargs
    raise console.NoXManagerError(
        f"Nobody knows where the run {xid}/{wid} is: experiment ids belong to XManager, "
        "which this package does not use. With the directory of the run, "
        "`kd.train.workdirs.get_resolved(workdir, path='model')` gives its model."
    )
