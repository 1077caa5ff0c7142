"""What the training loop needs to know of a run; `Trainer` is one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from kauldron import data
from kauldron import sharding as sharding_lib
from kauldron.sharding import TrainState
from kauldron.step import train_step
from kauldron.train import hooks as hooks_lib
from kauldron.train import nan_guard as nan_guard_lib
from kauldron.train import setup_utils


class RunDescription(Protocol):
    """Attributes and methods the loop reads, see `Trainer`.

    Where `Trainer` accepts more than it keeps (a path as text, `None` for "nothing"), the
    type is `Any`, and the docstring says what the loop meets.
    """

    @property
    def workdir(self) -> Any:
        """`epath.Path` of the run."""

    @property
    def seed(self) -> int: ...

    @property
    def train_ds(self) -> data.Pipeline: ...

    @property
    def sharding(self) -> sharding_lib.ShardingStrategy: ...

    @property
    def trainstep(self) -> train_step.TrainStep: ...

    @property
    def train_summaries(self) -> Mapping[str, Any]: ...

    @property
    def checkpointer(self) -> Any:
        """The `BaseCheckpointer`."""

    @property
    def evals(self) -> Any:
        """Name -> `EvaluatorBase`."""

    @property
    def writer(self) -> Any:
        """The `Writer`."""

    @property
    def logged_schedules(self) -> Mapping[str, Any]: ...

    @property
    def setup(self) -> setup_utils.Setup: ...

    @property
    def log_metrics_every(self) -> int: ...

    @property
    def log_summaries_every(self) -> int: ...

    @property
    def checkify_error_categories(self) -> frozenset[Any]: ...

    @property
    def nan_guard(self) -> nan_guard_lib.NanGuard | None: ...

    @property
    def hooks(self) -> Mapping[str, hooks_lib.Hook]: ...

    @property
    def profiler(self) -> Any:
        """The `Profiler`, or a `NoopProfiler`."""

    @property
    def raw_cfg(self) -> Any: ...

    @property
    def state_specs(self) -> Any:
        """The `TrainState` of `jax.ShapeDtypeStruct`s."""

    def check(self) -> None: ...

    def init_state(self, *, skip_transforms: bool = False) -> TrainState: ...

    def last_step(self) -> int: ...
