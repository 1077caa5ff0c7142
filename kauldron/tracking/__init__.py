"""`kd.tracking`: projects, runs and artifacts that can be found, compared and reported.

Workdirs are the truth; the registry is an index over them that can be thrown away. Nothing
here needs JAX but `runner` and `tuning`, which train.

Sub-rooms, each imported when a name of it is used: `storage`, `settings`, `publishers`,
`registry` (the index), `trackers`, `runner`, `comparing` (tables, curves, reports),
`tuning`, `pages` (terminal and web).
"""

from __future__ import annotations

from kauldron._base import lazy

_ROOM = "kauldron.tracking"


def _names(file: str, names: str) -> dict[str, str]:
    return {name: f"{_ROOM}.{file}:{name}" for name in names.split()}


__getattr__, __dir__, __all__ = lazy.attach(
    __name__,
    {
        # storage
        **_names("storage._opening", "open_storage"),
        **_names("storage._storage", "Storage StorageError"),
        **_names("storage._local", "LocalStorage"),
        **_names("storage._fsspec", "FsspecStorage"),
        # settings
        **_names(
            "settings.sources", "FileSettings MemorySettings Settings SettingsError"
        ),
        # publishers
        **_names("publishers._events", "Event"),
        **_names(
            "publishers._publisher",
            "ConsolePublisher JsonLinesPublisher NullPublisher Publisher",
        ),
        **_names("publishers._redis", "RedisPublisher"),
        # registry
        **_names("registry._filters", "FilterError"),
        **_names("registry.errors", "RegistryBusyError RegistryError"),
        **_names(
            "registry.records",
            "Artifact Curve Dataset Experiment Family IndexReport MetricValue Project Run",
        ),
        **_names("registry.registry", "Registry"),
        **_names("registry.workspaces", "Workspace"),
        # trackers
        **_names("trackers._tracked_run", "Point RunStart TrackedRun TrackerError"),
        **_names("trackers._tracker", "Tracker"),
        **_names("trackers._delivering", "deliver"),
        **_names("trackers._local", "Local"),
        **_names("trackers._mlflow", "MLflow"),
        **_names("trackers._publish", "Publish"),
        **_names("trackers._wandb", "Wandb"),
        # runner
        **_names("runner._runner", "Interrupted Model Runner RunResult"),
        # comparing
        **_names("comparing.run_source", "ComparingError RunSource chosen_runs"),
        **_names("comparing.differences", "Comparison compare"),
        **_names("comparing.curves", "RunCurve curves_of"),
        **_names("comparing.terminal_plots", "draw_in_terminal"),
        **_names("comparing.figures", "save_curves"),
        **_names("comparing.report", "Report make_report"),
        **_names("comparing.report_files", "write_report"),
        **_names("comparing.runs_report", "RunsReport make_runs_report"),
        # tuning
        "tune": f"{_ROOM}.tuning",
        # pages
        **_names("pages.terminal.app", "show_runs"),
        **_names("pages.web.server", "PageServer ServerError"),
    },
)
