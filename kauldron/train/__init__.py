"""`kd.train`: trainer, loop, hooks; also the published names of the parts below.

Nothing is imported before it is used.
"""

from __future__ import annotations

from kauldron._base import lazy

_STEP = "kauldron.step"
_RECORDING = "kauldron.recording"
_WORKDIR = "kauldron.workdir"

__getattr__, __dir__, __all__ = lazy.attach(
    __name__,
    {
        "EarlyStopping": "kauldron.train.hooks:EarlyStopping",
        "ReduceOnPlateau": "kauldron.train.hooks:ReduceOnPlateau",
        "Hook": "kauldron.train.hooks:Hook",
        "NanGuard": "kauldron.train.nan_guard:NanGuard",
        "NonfiniteError": "kauldron.train.nan_guard:NonfiniteError",
        "RunControl": "kauldron.train.hooks:RunControl",
        "Setup": "kauldron.train.setup_utils:Setup",
        "TqdmInfo": "kauldron.train.setup_utils:TqdmInfo",
        "Trainer": "kauldron.train.trainer_lib:Trainer",
        "TrainingInterrupted": "kauldron.train._interrupts:TrainingInterrupted",
        # The state, and one step.
        "TrainState": "kauldron.sharding:TrainState",
        "Auxiliaries": f"{_STEP}:Auxiliaries",
        "AuxiliariesOutput": f"{_STEP}:AuxiliariesOutput",
        "AuxiliariesState": f"{_STEP}:AuxiliariesState",
        "Context": f"{_STEP}:Context",
        "DynamicLossScale": f"{_STEP}:DynamicLossScale",
        "LossGroup": f"{_STEP}:LossGroup",
        "LossGroupsStep": f"{_STEP}:LossGroupsStep",
        "Precision": f"{_STEP}:Precision",
        "Remat": f"{_STEP}:Remat",
        "RngStream": f"{_STEP}:RngStream",
        "RngStreams": f"{_STEP}:RngStreams",
        "TrainStep": f"{_STEP}:TrainStep",
        "forward": f"{_STEP}:forward",
        "forward_with_loss": f"{_STEP}:forward_with_loss",
        # Writers.
        "Description": f"{_RECORDING}:Description",
        "KDMetricWriter": f"{_RECORDING}:KDMetricWriter",
        "Measured": f"{_RECORDING}:Measured",
        "MultiWriter": f"{_RECORDING}:MultiWriter",
        "NoopWriter": f"{_RECORDING}:NoopWriter",
        "Writer": f"{_RECORDING}:Writer",
        "WriterBase": f"{_RECORDING}:WriterBase",
        # What is wrong.
        "AccumulationError": f"{_STEP}:AccumulationError",
        "CheckError": "kauldron.train._key_report:CheckError",
        "EvalOnlyError": "kauldron.train._eval_only:EvalOnlyError",
        "HostBatchError": f"{_STEP}:HostBatchError",
        "UsedStateError": f"{_STEP}:UsedStateError",
        "HookError": "kauldron.train.hooks:HookError",
        "LossGroupError": f"{_STEP}:LossGroupError",
        "LossScaleError": f"{_STEP}:LossScaleError",
        "ModuleGlobError": f"{_STEP}:ModuleGlobError",
        "NanGuardError": "kauldron.train.nan_guard:NanGuardError",
        "OutOfDataError": "kauldron.train._batches:OutOfDataError",
        "PrecisionError": f"{_STEP}:PrecisionError",
        "PredictionError": f"{_STEP}:PredictionError",
        "RematError": f"{_STEP}:RematError",
        "TrainStepError": f"{_STEP}:TrainStepError",
        "TrainerError": "kauldron.train._trainer_checks:TrainerError",
        "WorkdirConfigError": f"{_WORKDIR}:WorkdirConfigError",
        "WriterError": f"{_RECORDING}:WriterError",
        "CannotShowError": f"{_RECORDING}:CannotShowError",
        "WorkdirError": f"{_WORKDIR}:WorkdirError",
        # Programs kept between runs.
        "compilation_cache": "kauldron.train._compilation_cache:use",
        # Modules.
        "auxiliaries": "kauldron.train.auxiliaries",
        "checkpoint_state": "kauldron.train.checkpoint_state",
        "context": "kauldron.train.context",
        "hooks": "kauldron.train.hooks",
        "loss_groups": f"{_STEP}.loss_groups",
        "metric_writer": "kauldron.train.metric_writer",
        "reproduction": "kauldron.runs.reproduction",
        "rngs_lib": f"{_STEP}.rngs_lib",
        "run_status": f"{_WORKDIR}.run_status",
        "setup_utils": "kauldron.train.setup_utils",
        "train_loop": "kauldron.train.train_loop",
        "train_step": "kauldron.train.train_step",
        "trainer_lib": "kauldron.train.trainer_lib",
        "workdirs": f"{_WORKDIR}.workdirs",
    },
)
