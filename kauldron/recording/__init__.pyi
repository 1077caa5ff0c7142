"""What is in the lazy table beside this file; written by `make stubs`."""

from kauldron.recording import chrono as chrono
from kauldron.recording import measured as measured
from kauldron.recording import profiler as profiler
from kauldron.recording import progress as progress
from kauldron.recording import recorder as recorder
from kauldron.recording import run_tables as run_tables
from kauldron.recording._kd_writer import KDMetricWriter as KDMetricWriter
from kauldron.recording._multi_writer import MultiWriter as MultiWriter
from kauldron.recording._multi_writer import WriterError as WriterError
from kauldron.recording._multi_writer import as_writer as as_writer
from kauldron.recording._writer import Writer as Writer
from kauldron.recording._writer_base import NoopMetadataWriter as NoopMetadataWriter
from kauldron.recording._writer_base import NoopWriter as NoopWriter
from kauldron.recording._writer_base import WriterBase as WriterBase
from kauldron.recording.chrono import Chrono as Chrono
from kauldron.recording.chrono import Pause as Pause
from kauldron.recording.measured import CannotShowError as CannotShowError
from kauldron.recording.measured import Description as Description
from kauldron.recording.measured import Measured as Measured
from kauldron.recording.profiler import NoopProfiler as NoopProfiler
from kauldron.recording.profiler import Profiler as Profiler
from kauldron.recording.profiler import ProfilerError as ProfilerError

__all__ = [
    "CannotShowError",
    "Chrono",
    "Description",
    "KDMetricWriter",
    "Measured",
    "MultiWriter",
    "NoopMetadataWriter",
    "NoopProfiler",
    "NoopWriter",
    "Pause",
    "Profiler",
    "ProfilerError",
    "Writer",
    "WriterBase",
    "WriterError",
    "as_writer",
    "chrono",
    "measured",
    "profiler",
    "progress",
    "recorder",
    "run_tables",
]
