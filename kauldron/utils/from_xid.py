"""Published import path of `kd.from_xid`: runs by XManager id, unknown here."""

from __future__ import annotations

from typing import Any, NoReturn

from kauldron._base import console, public


def get_cfg(xid: int, wid: int = 1, *, lazy: bool = True) -> Any:
    """Always raises `NoXManagerError`; `kd.train.workdirs.load_config` does it."""
    _refuse(xid, wid, "load_config(workdir)")


def get_resolved(
    xid: int,
    wid: int = 1,
    *,
    path: str | None = None,
    adhoc_from: object = None,
    config_update_fn: object = None,
) -> Any:
    """Always raises `NoXManagerError`; `kd.train.workdirs.get_resolved` does it."""
    shown = f", path={path!r}" if path else ""
    _refuse(xid, wid, f"get_resolved(workdir{shown})")


def get_workdir(xid: int, wid: int = 1) -> Any:
    """Always raises `NoXManagerError`: a run is known by its workdir."""
    _refuse(xid, wid, "load_config(workdir)")


def get_element_spec(xid: int, wid: int = 1) -> Any:
    """Always raises `NoXManagerError`; `kd.train.workdirs.get_element_spec` does it."""
    _refuse(xid, wid, "get_element_spec(workdir)")


def _refuse(xid: int, wid: int, instead: str) -> NoReturn:
    raise console.NoXManagerError(
        f"Nobody knows where the run {xid}/{wid} is: experiment ids belong to XManager, "
        f"which this package does not use. With the directory of the run, "
        f"`kd.train.workdirs.{instead}` does the same."
    )


__all__ = ["get_cfg", "get_element_spec", "get_resolved", "get_workdir"]

__dir__ = public.publish(__name__)
