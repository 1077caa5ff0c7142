"""Published import path of `kd.utils.status`: console status lines."""

from __future__ import annotations

from kauldron._base.console import (
    NoXManagerError,
    Status,
    is_lead_host,
    log,
    log_status,
    on_xmanager,
    status,
    warn,
)

__all__ = [
    "NoXManagerError",
    "Status",
    "is_lead_host",
    "log",
    "log_status",
    "on_xmanager",
    "status",
    "warn",
]
