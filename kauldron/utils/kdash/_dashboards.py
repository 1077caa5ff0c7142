"""Dashboard descriptions."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NoReturn

from kauldron._base import errors


class DashboardError(errors.UserError, ValueError):
    """Dashboards that contradict each other, or that cannot be shown here."""


class DashboardsBase:
    """Base of dashboard descriptions. They can be combined; nothing draws them."""

    def normalize(self) -> MultiDashboards:
        """Returns the same as `MultiDashboards`."""
        raise NotImplementedError(f"{type(self).__name__} defines no `normalize`.")

    def add_overview_dashboard(self) -> MultiDashboards:
        """Returns the same with a page `overview` in front, unless there is one."""
        return self.normalize().add_overview_dashboard()

    @property
    def __dashboards__(self) -> DashboardsBase:
        return self


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plot:
    """One curve chart.

    Attributes:
      y_key: Name of the value: `'losses/total'`.
      x_key: Name of the abscissa.
      collections: Whose values: `['train', 'eval']`.
      facet_to_collections: Name of a panel -> the collections in it.
      collection_to_ykeys: Collection -> names of values, in place of `y_key`.
      remove_prefix: Whether the title leaves out what is before the last slash.
    """

    y_key: str | None = None
    x_key: str = "step"
    collections: Sequence[str] = ()
    facet_to_collections: Mapping[str, Sequence[str]] | None = None
    collection_to_ykeys: Mapping[str, Sequence[str]] | None = None
    remove_prefix: bool = True


@dataclasses.dataclass(frozen=True, kw_only=True)
class BuildContext:
    """What a dashboard is made for.

    Attributes:
      sweep_argnames: Names of what a sweep changes.
      base_cfg: The config.
    """

    sweep_argnames: Sequence[str] = ()
    base_cfg: Any = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class NoopDashboard(DashboardsBase):
    """No dashboard."""

    def normalize(self) -> MultiDashboards:
        return MultiDashboards()


@dataclasses.dataclass(frozen=True, kw_only=True)
class SingleDashboard(DashboardsBase):
    """One page of plots.

    Attributes:
      name: Pages of the same name are merged.
      title: Its title; the name unless given.
      plots: What is on it.
      in_overview: Whether its plots are in the overview, too.
    """

    name: str
    title: str = ""
    plots: Sequence[Plot] = ()
    in_overview: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "title", self.title or self.name)
        object.__setattr__(self, "plots", tuple(self.plots))

    @classmethod
    def from_y_keys(
        cls, *, y_keys: Iterable[str], collections: Sequence[str] = (), **kwargs: Any
    ) -> SingleDashboard:
        """Returns a page with a plot for each value."""
        plots = [Plot(y_key=key, collections=tuple(collections)) for key in y_keys]
        return cls(plots=plots, **kwargs)

    def normalize(self) -> MultiDashboards:
        return MultiDashboards(dashboards={self.name: self})


@dataclasses.dataclass(frozen=True, kw_only=True)
class MultiDashboards(DashboardsBase):
    """Several pages, by name."""

    dashboards: Mapping[str, SingleDashboard] = dataclasses.field(default_factory=dict)

    @classmethod
    def from_iterable(cls, dashboards: Iterable[DashboardsBase]) -> MultiDashboards:
        """Returns all pages; those of the same name become one.

        Raises:
          DashboardError: A `ValueError`: pages of the same name differ in `title` or
            `in_overview`.
        """
        merged: dict[str, SingleDashboard] = {}
        for item in dashboards:
            for name, page in item.normalize().dashboards.items():
                merged[name] = _merge(merged[name], page) if name in merged else page
        return cls(dashboards=merged)

    def normalize(self) -> MultiDashboards:
        return self

    def add_overview_dashboard(self) -> MultiDashboards:
        """Returns the same with a page `overview` in front, unless there is one."""
        if "overview" in self.dashboards:
            return self
        pages = self.dashboards.values()
        plots = [plot for page in pages if page.in_overview for plot in page.plots]
        overview = SingleDashboard(name="overview", title="Overview", plots=plots)
        return MultiDashboards(dashboards={"overview": overview, **self.dashboards})


def _merge(a: SingleDashboard, b: SingleDashboard) -> SingleDashboard:
    for field in ("title", "in_overview"):
        if getattr(a, field) != getattr(b, field):
            raise DashboardError(
                f"Two dashboards named {a.name!r} differ in `{field}`: "
                f"{getattr(a, field)!r} and {getattr(b, field)!r}."
            )
    new = [plot for plot in b.plots if plot not in a.plots]
    return dataclasses.replace(a, plots=(*a.plots, *new))


@dataclasses.dataclass(frozen=True, kw_only=True)
class MetricDashboards(DashboardsBase):
    """The pages of the losses and metrics of a collection.

    Attributes:
      collection: Such as `'train'`.
      losses: By name. With several, there is a plot of their total.
      metrics: By name.
      in_overview: Whether the plots are in the overview, too.
    """

    collection: str
    losses: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    metrics: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    in_overview: bool = True

    def normalize(self) -> MultiDashboards:
        losses = [*self.losses, *(["total"] if len(self.losses) > 1 else [])]
        pages = [
            SingleDashboard.from_y_keys(
                name=name,
                y_keys=[f"{name}/{key}" for key in keys],
                collections=[self.collection],
                in_overview=self.in_overview,
            )
            for name, keys in (("losses", losses), ("metrics", list(self.metrics)))
            if keys
        ]
        return MultiDashboards.from_iterable(pages)


def build_and_upload(*args: Any, **kwargs: Any) -> NoReturn:
    """Always raises `DashboardError`: there is no server that shows dashboards."""
    raise DashboardError(
        "Dashboards cannot be uploaded: they are shown by a service that this package "
        "does not use. The curves of a run are in `tensorboard --logdir=<workdir>`, and "
        "its values in `metrics.jsonl`."
    )
