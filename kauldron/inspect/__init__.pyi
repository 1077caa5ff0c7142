"""What is in the lazy table beside this file; written by `make stubs`."""

from kauldron.inspect._collectives import Collective as Collective
from kauldron.inspect._draw_model import draw_model as draw_model
from kauldron.inspect._draw_model import draw_model_of as draw_model_of
from kauldron.inspect._link_times import LinkSpeedError as LinkSpeedError
from kauldron.inspect._lowered_step import NoStepError as NoStepError
from kauldron.inspect._lowered_step import lower_trainstep as lower_trainstep
from kauldron.inspect._memory_estimate import MemoryEstimate as MemoryEstimate
from kauldron.inspect._placements import Placement as Placement
from kauldron.inspect._sharding_table import PlacedArray as PlacedArray
from kauldron.inspect._sharding_table import ShardingTable as ShardingTable
from kauldron.inspect._sharding_table import sharding_table as sharding_table
from kauldron.inspect._simulated_devices import SimulationError as SimulationError
from kauldron.inspect._simulated_devices import SimulationFailure as SimulationFailure
from kauldron.inspect._step_report import ShardingReport as ShardingReport
from kauldron.inspect._step_report import estimate_memory as estimate_memory
from kauldron.inspect._step_report import sharding_report as sharding_report
from kauldron.inspect._svg import Picture as Picture
from kauldron.inspect._svg import PictureError as PictureError
from kauldron.inspect._svg import PictureFileError as PictureFileError
from kauldron.inspect._trainer_inputs import ModelTraceError as ModelTraceError
from kauldron.inspect.displays.attention import AttentionMap as AttentionMap
from kauldron.inspect.displays.attention import AttentionMapError as AttentionMapError
from kauldron.inspect.displays.attention import AttentionMaps as AttentionMaps
from kauldron.inspect.displays.attention import attention_maps as attention_maps
from kauldron.inspect.displays.batches import get_batch_stats as get_batch_stats
from kauldron.inspect.displays.batches import json_spec_like as json_spec_like
from kauldron.inspect.displays.connections import get_connection_graph as get_connection_graph
from kauldron.inspect.displays.context_trees import SpecTree as SpecTree
from kauldron.inspect.displays.context_trees import plot_context as plot_context
from kauldron.inspect.displays.examples import ExampleLossError as ExampleLossError
from kauldron.inspect.displays.examples import RankedExample as RankedExample
from kauldron.inspect.displays.examples import RankedExamples as RankedExamples
from kauldron.inspect.displays.examples import largest_losses as largest_losses
from kauldron.inspect.displays.galleries import Gallery as Gallery
from kauldron.inspect.displays.galleries import plot_batch as plot_batch
from kauldron.inspect.displays.key_uses import KeyExplanation as KeyExplanation
from kauldron.inspect.displays.key_uses import KeyReader as KeyReader
from kauldron.inspect.displays.key_uses import UnknownKeyError as UnknownKeyError
from kauldron.inspect.displays.key_uses import explain_key as explain_key
from kauldron.inspect.displays.line_plots import plot_lines as plot_lines
from kauldron.inspect.displays.memory import live_arrays as live_arrays
from kauldron.inspect.displays.memory import step_memory as step_memory
from kauldron.inspect.displays.models import flops_table as flops_table
from kauldron.inspect.displays.models import get_colab_model_overview as get_colab_model_overview
from kauldron.inspect.displays.models import model_overview as model_overview
from kauldron.inspect.displays.parameters import ParameterTableError as ParameterTableError
from kauldron.inspect.displays.parameters import parameter_table as parameter_table
from kauldron.inspect.displays.profile import ProfileError as ProfileError
from kauldron.inspect.displays.profile import StepProfile as StepProfile
from kauldron.inspect.displays.profile import profile_step as profile_step
from kauldron.inspect.displays.schedules import ScheduleError as ScheduleError
from kauldron.inspect.displays.schedules import plot_schedules as plot_schedules
from kauldron.inspect.displays.sections import Sections as Sections
from kauldron.inspect.displays.steps import StepLook as StepLook
from kauldron.inspect.displays.steps import look_at_step as look_at_step
from kauldron.inspect.displays.tables import PandasError as PandasError
from kauldron.inspect.displays.tables import Table as Table
from kauldron.inspect.displays.trainer_info import plot_sharding as plot_sharding
from kauldron.inspect.displays.trainer_info import show_trainer_info as show_trainer_info
from kauldron.recording.profiler import NoopProfiler as NoopProfiler
from kauldron.recording.profiler import Profiler as Profiler
from kauldron.recording.profiler import ProfilerError as ProfilerError
from kauldron.runs.replay import Replay as Replay
from kauldron.runs.replay import ReplayError as ReplayError
from kauldron.runs.replay import replay as replay

__all__ = [
    "AttentionMap",
    "AttentionMapError",
    "AttentionMaps",
    "Collective",
    "ExampleLossError",
    "Gallery",
    "KeyExplanation",
    "KeyReader",
    "LinkSpeedError",
    "MemoryEstimate",
    "ModelTraceError",
    "NoStepError",
    "NoopProfiler",
    "PandasError",
    "ParameterTableError",
    "Picture",
    "PictureError",
    "PictureFileError",
    "PlacedArray",
    "Placement",
    "ProfileError",
    "Profiler",
    "ProfilerError",
    "RankedExample",
    "RankedExamples",
    "Replay",
    "ReplayError",
    "ScheduleError",
    "Sections",
    "ShardingReport",
    "ShardingTable",
    "SimulationError",
    "SimulationFailure",
    "SpecTree",
    "StepLook",
    "StepProfile",
    "Table",
    "UnknownKeyError",
    "attention_maps",
    "draw_model",
    "draw_model_of",
    "estimate_memory",
    "explain_key",
    "flops_table",
    "get_batch_stats",
    "get_colab_model_overview",
    "get_connection_graph",
    "json_spec_like",
    "largest_losses",
    "live_arrays",
    "look_at_step",
    "lower_trainstep",
    "model_overview",
    "parameter_table",
    "plot_batch",
    "plot_context",
    "plot_lines",
    "plot_schedules",
    "plot_sharding",
    "profile_step",
    "replay",
    "sharding_report",
    "sharding_table",
    "show_trainer_info",
    "step_memory",
]
