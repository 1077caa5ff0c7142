"""Published import path of writers."""

from __future__ import annotations

from kauldron.recording import (
    CannotShowError,
    KDMetricWriter,
    MultiWriter,
    NoopMetadataWriter,
    NoopWriter,
    WriterBase,
    WriterError,
    as_writer,
)
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
