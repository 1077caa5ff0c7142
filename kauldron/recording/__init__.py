"""Recording of a run: metric writers, progress display, profiler traces, timers.

The `Recorder` computes what was measured, away from the loop, and hands it to writers as a
`Measured`. Nothing is imported before it is used: a writer alone needs no JAX.
"""

from __future__ import annotations

from kauldron._base import lazy

_HERE = "kauldron.recording"

__getattr__, __dir__, __all__ = lazy.attach(
    __name__,
    {
        # Writers.
        "CannotShowError": f"{_HERE}.measured:CannotShowError",
        "Description": f"{_HERE}.measured:Description",
        "KDMetricWriter": f"{_HERE}._kd_writer:KDMetricWriter",
        "Measured": f"{_HERE}.measured:Measured",
        "MultiWriter": f"{_HERE}._multi_writer:MultiWriter",
        "NoopMetadataWriter": f"{_HERE}._writer_base:NoopMetadataWriter",
        "NoopWriter": f"{_HERE}._writer_base:NoopWriter",
        "Writer": f"{_HERE}._writer:Writer",
        "WriterBase": f"{_HERE}._writer_base:WriterBase",
        "WriterError": f"{_HERE}._multi_writer:WriterError",
        "as_writer": f"{_HERE}._multi_writer:as_writer",
        # Timers and traces.
        "Chrono": f"{_HERE}.chrono:Chrono",
        "NoopProfiler": f"{_HERE}.profiler:NoopProfiler",
        "Pause": f"{_HERE}.chrono:Pause",
        "Profiler": f"{_HERE}.profiler:Profiler",
        "ProfilerError": f"{_HERE}.profiler:ProfilerError",
        # Modules.
        "chrono": f"{_HERE}.chrono",
        "measured": f"{_HERE}.measured",
        "profiler": f"{_HERE}.profiler",
        "progress": f"{_HERE}.progress",
        "recorder": f"{_HERE}.recorder",
        "run_tables": f"{_HERE}.run_tables",
    },
)
