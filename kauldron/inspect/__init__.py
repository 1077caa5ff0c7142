"""Looking at a run: `kd.inspect`.

`Profiler` writes traces of a few steps of a training.
"""

from __future__ import annotations

from kauldron.train._profiler import NoopProfiler, Profiler, ProfilerError

__all__ = ["NoopProfiler", "Profiler", "ProfilerError"]
