"""`kd.inspect`: looking at models and at runs.

`draw_model` draws a model as a picture, `sharding_table` tells what each device holds.
`Profiler` writes traces of a few steps of a training.
"""

from __future__ import annotations

from kauldron._base import public
from kauldron.inspect._draw_model import ModelTraceError, draw_model, draw_model_of
from kauldron.inspect._sharding_table import (
    PlacedArray,
    ShardingTable,
    sharding_table,
)
from kauldron.inspect._svg import Picture, PictureError, PictureFileError
from kauldron.recording.profiler import NoopProfiler, Profiler, ProfilerError

__all__ = [
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
