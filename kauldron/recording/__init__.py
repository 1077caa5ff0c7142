"""What a run tells: values to writers, progress to the screen, traces, timers.

The `Recorder` computes what was measured, away from the loop, and hands it to writers.
"""

from __future__ import annotations

from kauldron._base import public
from kauldron.recording import chrono, profiler, progress, recorder, run_tables
from kauldron.recording._kd_writer import KDMetricWriter
from kauldron.recording._multi_writer import MultiWriter, WriterError, as_writer
from kauldron.recording._shown_values import CannotShowError
from kauldron.recording._writer_base import NoopMetadataWriter, NoopWriter, WriterBase
from kauldron.recording.chrono import Chrono, Pause
from kauldron.recording.profiler import NoopProfiler, Profiler, ProfilerError

__all__ = [
    "CannotShowError",
    "Chrono",
    "KDMetricWriter",
    "MultiWriter",
    "NoopMetadataWriter",
    "NoopProfiler",
    "NoopWriter",
    "Pause",
    "Profiler",
    "ProfilerError",
    "WriterBase",
    "WriterError",
    "as_writer",
    # Modules.
    "chrono",
    "profiler",
    "progress",
    "recorder",
    "run_tables",
]

__dir__ = public.publish(__name__)
