"""`kd.train`: the trainer, the step, and what they are made of.

The modules of this package live on several layers (see `docs/structure.md`), so nothing
is imported before it is used.
"""

from __future__ import annotations

from kauldron._base import lazy

__getattr__, __dir__, __all__ = lazy.attach(
    __name__,
    {
        "Auxiliaries": "kauldron.train.auxiliaries:Auxiliaries",
        "AuxiliariesOutput": "kauldron.train.auxiliaries:AuxiliariesOutput",
        "AuxiliariesState": "kauldron.train.auxiliaries:AuxiliariesState",
        "Context": "kauldron.train.context:Context",
        "DynamicLossScale": "kauldron.train._loss_scale:DynamicLossScale",
        "EarlyStopping": "kauldron.train.hooks:EarlyStopping",
        "Hook": "kauldron.train.hooks:Hook",
        "KDMetricWriter": "kauldron.train.metric_writer:KDMetricWriter",
        "LossGroup": "kauldron.train.loss_groups:LossGroup",
        "LossGroupsStep": "kauldron.train.loss_groups:LossGroupsStep",
        "MultiWriter": "kauldron.train.metric_writer:MultiWriter",
        "NanGuard": "kauldron.train.nan_guard:NanGuard",
        "NonfiniteError": "kauldron.train.nan_guard:NonfiniteError",
        "NoopWriter": "kauldron.train.metric_writer:NoopWriter",
        "Precision": "kauldron.train._precision:Precision",
        "Remat": "kauldron.train._remat:Remat",
        "RngStream": "kauldron.train.rngs_lib:RngStream",
        "RngStreams": "kauldron.train.rngs_lib:RngStreams",
        "RunControl": "kauldron.train.hooks:RunControl",
        "Setup": "kauldron.train.setup_utils:Setup",
        "TqdmInfo": "kauldron.train.setup_utils:TqdmInfo",
        "TrainState": "kauldron.sharding:TrainState",
        "TrainStep": "kauldron.train.train_step:TrainStep",
        "Trainer": "kauldron.train.trainer_lib:Trainer",
        "TrainingInterrupted": "kauldron.train._interrupts:TrainingInterrupted",
        "WriterBase": "kauldron.train.metric_writer:WriterBase",
        "auxiliaries": "kauldron.train.auxiliaries",
        "context": "kauldron.train.context",
        "hooks": "kauldron.train.hooks",
        "forward": "kauldron.train.train_step:forward",
        "forward_with_loss": "kauldron.train.train_step:forward_with_loss",
        "loss_groups": "kauldron.train.loss_groups",
        "metric_writer": "kauldron.train.metric_writer",
        "reproduction": "kauldron.train.reproduction",
        "rngs_lib": "kauldron.train.rngs_lib",
        "setup_utils": "kauldron.train.setup_utils",
        "run_status": "kauldron.workdir.run_status",
        "checkpoint_state": "kauldron.train.checkpoint_state",
        "train_loop": "kauldron.train.train_loop",
        "train_step": "kauldron.train.train_step",
        "trainer_lib": "kauldron.train.trainer_lib",
        "workdirs": "kauldron.workdir.workdirs",
    },
)
