"""Published names of dashboards. Nothing is drawn: use TensorBoard."""

from __future__ import annotations

from kauldron.utils.kdash._dashboards import (
    BuildContext,
    DashboardError,
    DashboardsBase,
    MetricDashboards,
    MultiDashboards,
    NoopDashboard,
    Plot,
    SingleDashboard,
    build_and_upload,
)

__all__ = [
    "BuildContext",
    "DashboardError",
    "DashboardsBase",
    "MetricDashboards",
    "MultiDashboards",
    "NoopDashboard",
    "Plot",
    "SingleDashboard",
    "build_and_upload",
]
