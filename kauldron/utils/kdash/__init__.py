"""Published dashboard names. Nothing is drawn: use TensorBoard."""

from __future__ import annotations

from kauldron._base import public
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

__dir__ = public.publish(__name__)
