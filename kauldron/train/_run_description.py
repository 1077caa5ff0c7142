"""What the training loop needs to know of a run; `Trainer` is one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from etils import epath

from kauldron import checkpoints, data, evals, sharding
from kauldron.train import metric_writer, setup_utils, train_step
from kauldron.train.state import TrainState


class RunDescription(Protocol):
    """Attributes and methods the loop reads, see `Trainer`."""

    workdir: epath.Path
    train_ds: data.Pipeline
    sharding: sharding.ShardingStrategy
    trainstep: train_step.TrainStep
    checkpointer: checkpoints.BaseCheckpointer
    evals: Mapping[str, evals.EvaluatorBase]
    writer: metric_writer.WriterBase
    schedules: Mapping[str, Any]
    setup: setup_utils.Setup
    log_metrics_every: int
    log_summaries_every: int
    checkify_error_categories: frozenset[Any]
    raw_cfg: Any

    def check(self) -> None: ...

    def init_state(self, *, skip_transforms: bool = False) -> TrainState: ...

    def last_step(self) -> int: ...
