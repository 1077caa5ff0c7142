"""Published names of dashboards. Nothing is drawn: use TensorBoard."""

from __future__ import annotations


class DashboardsBase:
    """Base of dashboard descriptions; accepted and ignored."""


class NoopDashboard(DashboardsBase):
    """No dashboard."""


__all__ = ["DashboardsBase", "NoopDashboard"]
