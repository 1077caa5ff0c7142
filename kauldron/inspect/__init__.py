"""`kd.inspect`: profiling a run.

`Profiler` writes traces of a few steps of a training.
"""

from __future__ import annotations

from kauldron._base import public
from kauldron.recording.profiler import NoopProfiler, Profiler, ProfilerError

__all__ = ["NoopProfiler", "Profiler", "ProfilerError"]

__dir__ = public.publish(__name__)
