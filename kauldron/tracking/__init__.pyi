"""What is in the lazy table beside this file; written by `make stubs`."""

from kauldron.tracking import tuning as tune
from kauldron.tracking.comparing.curves import RunCurve as RunCurve
from kauldron.tracking.comparing.curves import curves_of as curves_of
from kauldron.tracking.comparing.differences import Comparison as Comparison
from kauldron.tracking.comparing.differences import compare as compare
from kauldron.tracking.comparing.figures import save_curves as save_curves
from kauldron.tracking.comparing.report import Report as Report
from kauldron.tracking.comparing.report import make_report as make_report
from kauldron.tracking.comparing.report_files import write_report as write_report
from kauldron.tracking.comparing.run_source import ComparingError as ComparingError
from kauldron.tracking.comparing.run_source import RunSource as RunSource
from kauldron.tracking.comparing.run_source import chosen_runs as chosen_runs
from kauldron.tracking.comparing.runs_report import RunsReport as RunsReport
from kauldron.tracking.comparing.runs_report import make_runs_report as make_runs_report
from kauldron.tracking.comparing.terminal_plots import draw_in_terminal as draw_in_terminal
from kauldron.tracking.pages.terminal.app import show_runs as show_runs
from kauldron.tracking.pages.web.server import PageServer as PageServer
from kauldron.tracking.pages.web.server import ServerError as ServerError
from kauldron.tracking.publishers._events import Event as Event
from kauldron.tracking.publishers._publisher import ConsolePublisher as ConsolePublisher
from kauldron.tracking.publishers._publisher import JsonLinesPublisher as JsonLinesPublisher
from kauldron.tracking.publishers._publisher import NullPublisher as NullPublisher
from kauldron.tracking.publishers._publisher import Publisher as Publisher
from kauldron.tracking.publishers._redis import RedisPublisher as RedisPublisher
from kauldron.tracking.registry._filters import FilterError as FilterError
from kauldron.tracking.registry.errors import RegistryBusyError as RegistryBusyError
from kauldron.tracking.registry.errors import RegistryError as RegistryError
from kauldron.tracking.registry.records import Artifact as Artifact
from kauldron.tracking.registry.records import Curve as Curve
from kauldron.tracking.registry.records import Dataset as Dataset
from kauldron.tracking.registry.records import Experiment as Experiment
from kauldron.tracking.registry.records import Family as Family
from kauldron.tracking.registry.records import IndexReport as IndexReport
from kauldron.tracking.registry.records import MetricValue as MetricValue
from kauldron.tracking.registry.records import Project as Project
from kauldron.tracking.registry.records import Run as Run
from kauldron.tracking.registry.registry import Registry as Registry
from kauldron.tracking.registry.workspaces import Workspace as Workspace
from kauldron.tracking.runner._runner import Interrupted as Interrupted
from kauldron.tracking.runner._runner import Model as Model
from kauldron.tracking.runner._runner import RunResult as RunResult
from kauldron.tracking.runner._runner import Runner as Runner
from kauldron.tracking.settings.sources import FileSettings as FileSettings
from kauldron.tracking.settings.sources import MemorySettings as MemorySettings
from kauldron.tracking.settings.sources import Settings as Settings
from kauldron.tracking.settings.sources import SettingsError as SettingsError
from kauldron.tracking.storage._fsspec import FsspecStorage as FsspecStorage
from kauldron.tracking.storage._local import LocalStorage as LocalStorage
from kauldron.tracking.storage._opening import open_storage as open_storage
from kauldron.tracking.storage._storage import Storage as Storage
from kauldron.tracking.storage._storage import StorageError as StorageError
from kauldron.tracking.trackers._delivering import deliver as deliver
from kauldron.tracking.trackers._local import Local as Local
from kauldron.tracking.trackers._mlflow import MLflow as MLflow
from kauldron.tracking.trackers._publish import Publish as Publish
from kauldron.tracking.trackers._tracked_run import Point as Point
from kauldron.tracking.trackers._tracked_run import RunStart as RunStart
from kauldron.tracking.trackers._tracked_run import TrackedRun as TrackedRun
from kauldron.tracking.trackers._tracked_run import TrackerError as TrackerError
from kauldron.tracking.trackers._tracker import Tracker as Tracker
from kauldron.tracking.trackers._wandb import Wandb as Wandb

__all__ = [
    "Artifact",
    "ComparingError",
    "Comparison",
    "ConsolePublisher",
    "Curve",
    "Dataset",
    "Event",
    "Experiment",
    "Family",
    "FileSettings",
    "FilterError",
    "FsspecStorage",
    "IndexReport",
    "Interrupted",
    "JsonLinesPublisher",
    "Local",
    "LocalStorage",
    "MLflow",
    "MemorySettings",
    "MetricValue",
    "Model",
    "NullPublisher",
    "PageServer",
    "Point",
    "Project",
    "Publish",
    "Publisher",
    "RedisPublisher",
    "Registry",
    "RegistryBusyError",
    "RegistryError",
    "Report",
    "Run",
    "RunCurve",
    "RunResult",
    "RunSource",
    "RunStart",
    "Runner",
    "RunsReport",
    "ServerError",
    "Settings",
    "SettingsError",
    "Storage",
    "StorageError",
    "TrackedRun",
    "Tracker",
    "TrackerError",
    "Wandb",
    "Workspace",
    "chosen_runs",
    "compare",
    "curves_of",
    "deliver",
    "draw_in_terminal",
    "make_report",
    "make_runs_report",
    "open_storage",
    "save_curves",
    "show_runs",
    "tune",
    "write_report",
]
