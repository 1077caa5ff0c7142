"""`kd.inspect`: looking at models and at runs, in notebooks and terminals.

Each function returns something that prints as text and that notebooks show: tables,
trees, pictures. `show_trainer_info` has most of it in one call; `explain_key` says what a
key is, `look_at_step` what happens in a step, `largest_losses` which examples are worst.
`sharding_report` tells what a step costs, `estimate_memory` whether it fits. `Profiler`
writes traces of a few steps of a training.

Nothing is imported before it is used.
"""

from __future__ import annotations

from kauldron._base import lazy

_HERE = "kauldron.inspect"


def _names(file: str, names: str) -> dict[str, str]:
    return {name: f"{_HERE}.{file}:{name}" for name in names.split()}


__getattr__, __dir__, __all__ = lazy.attach(
    __name__,
    {
        # A run at a glance.
        **_names("displays.trainer_info", "plot_sharding show_trainer_info"),
        # Data.
        **_names("displays.batches", "get_batch_stats json_spec_like"),
        **_names("displays.galleries", "Gallery plot_batch"),
        # Keys.
        **_names("displays.context_trees", "SpecTree plot_context"),
        **_names("displays.connections", "get_connection_graph"),
        **_names(
            "displays.key_uses", "KeyExplanation KeyReader UnknownKeyError explain_key"
        ),
        # Models.
        **_names("_draw_model", "draw_model draw_model_of"),
        **_names("_trainer_inputs", "ModelTraceError"),
        **_names(
            "displays.models", "flops_table get_colab_model_overview model_overview"
        ),
        **_names("displays.parameters", "ParameterTableError parameter_table"),
        **_names(
            "displays.attention",
            "AttentionMap AttentionMapError AttentionMaps attention_maps",
        ),
        # Steps.
        **_names("displays.steps", "StepLook look_at_step"),
        "Replay": "kauldron.runs.replay:Replay",
        "ReplayError": "kauldron.runs.replay:ReplayError",
        "replay": "kauldron.runs.replay:replay",
        **_names("displays.schedules", "ScheduleError plot_schedules"),
        **_names(
            "displays.examples",
            "ExampleLossError RankedExample RankedExamples largest_losses",
        ),
        # Devices and memory.
        **_names("_collectives", "Collective"),
        **_names("_link_times", "LinkSpeedError"),
        **_names("_lowered_step", "NoStepError lower_trainstep"),
        **_names("_memory_estimate", "MemoryEstimate"),
        **_names("displays.memory", "live_arrays step_memory"),
        **_names("_placements", "Placement"),
        **_names("_sharding_table", "PlacedArray ShardingTable sharding_table"),
        **_names("_simulated_devices", "SimulationError SimulationFailure"),
        **_names("_step_report", "ShardingReport estimate_memory sharding_report"),
        # What these return.
        **_names("_svg", "Picture PictureError PictureFileError"),
        **_names("displays.line_plots", "plot_lines"),
        **_names("displays.sections", "Sections"),
        **_names("displays.tables", "PandasError Table"),
        # Time.
        **_names("displays.profile", "ProfileError StepProfile profile_step"),
        "NoopProfiler": "kauldron.recording.profiler:NoopProfiler",
        "Profiler": "kauldron.recording.profiler:Profiler",
        "ProfilerError": "kauldron.recording.profiler:ProfilerError",
    },
)
