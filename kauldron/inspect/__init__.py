"""`kd.inspect`: looking at models and at runs.

`draw_model` draws a model as a picture. `sharding_table` tells what each device holds,
`sharding_report` what a step costs as well, and `estimate_memory` whether it fits.
`Profiler` writes traces of a few steps of a training.
"""

from __future__ import annotations

from kauldron._base import public
from kauldron.inspect._collectives import Collective
from kauldron.inspect._draw_model import draw_model, draw_model_of
from kauldron.inspect._link_times import LinkSpeedError
from kauldron.inspect._lowered_step import NoStepError, lower_trainstep
from kauldron.inspect._memory_estimate import MemoryEstimate
from kauldron.inspect._placements import Placement
from kauldron.inspect._sharding_table import (
    PlacedArray,
    ShardingTable,
    sharding_table,
)
from kauldron.inspect._simulated_devices import SimulationError, SimulationFailure
from kauldron.inspect._step_report import (
    ShardingReport,
    estimate_memory,
    sharding_report,
)
from kauldron.inspect._svg import Picture, PictureError, PictureFileError
from kauldron.inspect._trainer_inputs import ModelTraceError
from kauldron.recording.profiler import NoopProfiler, Profiler, ProfilerError

__all__ = [
    "Collective",
    "LinkSpeedError",
    "MemoryEstimate",
    "NoStepError",
    "Placement",
    "ShardingReport",
    "SimulationError",
    "SimulationFailure",
    "estimate_memory",
    "lower_trainstep",
    "sharding_report",
    "ModelTraceError",
    "NoopProfiler",
    "Picture",
    "PictureError",
    "PictureFileError",
    "PlacedArray",
    "Profiler",
    "ProfilerError",
    "ShardingTable",
    "draw_model",
    "draw_model_of",
    "sharding_table",
]

__dir__ = public.publish(__name__)
