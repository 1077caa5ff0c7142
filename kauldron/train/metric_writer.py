"""Where results are written.

A writer is told of each (collection, step) once. After a restart `rewind(step)` takes
back what the lost part of the run had written, so nothing is there twice.
"""

from __future__ import annotations

from kauldron.train._kd_writer import KDMetricWriter
from kauldron.train._multi_writer import MultiWriter, WriterError, as_writer
from kauldron.train._shown_values import CannotShowError
from kauldron.train._writer_base import NoopMetadataWriter, NoopWriter, WriterBase
from kauldron.workdir.json_lines import METRICS_FILE, TIMINGS_FILE

__all__ = [
    "METRICS_FILE",
    "TIMINGS_FILE",
    "CannotShowError",
    "KDMetricWriter",
    "MultiWriter",
    "NoopMetadataWriter",
    "NoopWriter",
    "WriterBase",
    "WriterError",
    "as_writer",
]
