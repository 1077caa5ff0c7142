"""`EvaluatorBase`, the evaluator protocol, and `Run`, what evaluators need of a run."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Collection, Iterator, Mapping
from typing import Any, Protocol, Self, runtime_checkable

from etils import epath
from flax import linen as nn

from kauldron import checkpoints, data, kontext, recording
from kauldron import sharding as sharding_lib
from kauldron._base import root_refs
from kauldron.evals import run_strategies
from kauldron.sharding import TrainState
from kauldron.step import auxiliaries, mixed_precision, rngs_lib, train_step


class Setup(Protocol):
    """How a run is prepared, see `kd.train.Setup`."""

    @property
    def eval_only(self) -> bool: ...
    @property
    def preemptable_eval(self) -> bool: ...
    def run(self, trainer: Run) -> None: ...


class Run(Protocol):
    """What others need of a run besides training; `kd.train.Trainer` implements it.

    Where a trainer accepts more than it keeps (a path as text, `None` for "nothing"), this
    is what it keeps. `Setup.run` makes sure that there is a workdir.
    """

    @property
    def workdir(self) -> epath.Path: ...
    @property
    def train_ds(self) -> data.Pipeline: ...
    @property
    def eval_ds(self) -> data.Pipeline | None: ...
    @property
    def model(self) -> nn.Module: ...
    @property
    def rng_streams(self) -> rngs_lib.RngStreams: ...
    @property
    def sharding(self) -> sharding_lib.ShardingStrategy: ...
    @property
    def precision(self) -> mixed_precision.Precision | None: ...
    @property
    def train_losses(self) -> Mapping[str, Any]: ...
    @property
    def train_metrics(self) -> Mapping[str, Any]: ...
    @property
    def train_summaries(self) -> Mapping[str, Any]: ...
    @property
    def checkify_error_categories(self) -> frozenset[Any]: ...
    @property
    def checkpointer(self) -> checkpoints.BaseCheckpointer: ...
    @property
    def init_transform(self) -> checkpoints.InitTransform: ...
    @property
    def trainstep(self) -> train_step.TrainStep: ...
    @property
    def evals(self) -> Mapping[str, EvaluatorBase]: ...
    @property
    def setup(self) -> Setup: ...
    @property
    def state_specs(self) -> TrainState:
        """The state as `jax.ShapeDtypeStruct`s, with shardings."""
        ...

    def init_state(
        self,
        *,
        skip_transforms: bool = False,
        skip_optimizer: bool = False,
        element_spec: Any = None,
    ) -> TrainState: ...

    def last_step(self) -> int: ...
    def replace(self, **changes: Any) -> Self: ...
    def train(self) -> tuple[TrainState, auxiliaries.AuxiliariesState | None]: ...


class CollectionKeys:
    """Names that evaluators may not take."""

    TRAIN = "train"


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class EvaluatorBase(root_refs.UpdateFromRootCfg, root_refs.FrozenSubclasses, abc.ABC):
    """Base of evaluators.

    Attributes:
      name: Name of the collection that is written; the key in `cfg.evals`.
      run: When it runs.
      writer: Where results go; the trainer's writer unless given.
      base_cfg: The trainer.
      discard_opt: Whether the optimizer state is left out.
    """

    name: str = "eval"
    run: run_strategies.RunStrategy
    writer: recording.Writer = root_refs.ROOT_CFG_REF.writer
    base_cfg: Run = dataclasses.field(default=root_refs.ROOT_CFG_REF, repr=False)
    discard_opt: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.run, run_strategies.RunStrategy):
            raise TypeError(
                "`run` must say when to evaluate, such as `kd.evals.EveryNSteps(100)`: "
                f"got {self.run!r}."
            )

    @abc.abstractmethod
    def evaluate(
        self, state: TrainState, step: int
    ) -> auxiliaries.AuxiliariesState | None:
        """Evaluates a state and writes the results.

        Args:
          state: State after `step` updates.
          step: The step the results are written for.

        Returns:
          The merged states of the whole dataset.
        """

    def check(
        self, run: Run, state: TrainState, *, field: str
    ) -> list[kontext.KeyProblem]:
        """Returns what does not fit the run; nothing is compiled. Meant to be
        overridden.

        It is called before a run starts, and all problems are reported together.

        Args:
          run: The run it is part of.
          state: The state it will be given, as `jax.ShapeDtypeStruct`s.
          field: How the user wrote this evaluator: `"cfg.evals['test']"`.
        """
        del run, state, field
        return []

    def measures(self) -> Collection[str] | None:
        """Names of what is measured; `None` if that is known only when it has run.

        A checkpoint can be chosen, or a run stopped, by one of them.
        """
        return None

    def writing_to(self, folder: epath.Path | None) -> Self:
        """Returns the evaluator writing to another folder; nothing at all if it is `None`.

        Meant to be overridden by those that write more than what `writer` does.
        """
        if folder is not None:
            return self.replace(writer=self.writer.replace(workdir=folder))
        nowhere = recording.NoopWriter(
            workdir=self.writer.workdir, collection=self.name
        )
        return self.replace(writer=nowhere)

    def maybe_eval(
        self, *, step: int, state: TrainState, is_last: bool = False
    ) -> auxiliaries.AuxiliariesState | None:
        """Evaluates if the strategy says so; returns `None` otherwise."""
        if not self.run.should_eval_in_train(step, is_last=is_last):
            return None
        try:
            return self.evaluate(state, step)
        except Exception as e:
            e.add_note(f"In `cfg.evals[{self.name!r}]` at step {step}.")
            raise


@runtime_checkable
class WritesFolder(Protocol):
    """What an evaluator answers that writes files of each example to a folder.

    `kauldron predict --out=FOLDER` asks it.
    """

    def write_folder(
        self, state: TrainState, folder: epath.PathLike, *, step: int, ds: Any = None
    ) -> Iterator[str]:
        """Writes what a state predicts; yields the files that were written.

        Args:
          state: State after `step` updates.
          folder: Where to. What is complete there is left as it is.
          step: See `state`.
          ds: Another dataset than that of the evaluator.
        """
        ...


def normalize_evaluators(
    evals: Mapping[str, EvaluatorBase],
) -> dict[str, EvaluatorBase]:
    """Returns the evaluators named by their keys, writing to collections of that name.

    Raises:
      TypeError: If it is not a mapping of evaluators.
      ValueError: If a name is taken or is not a name.
    """
    if not isinstance(evals, Mapping):
        raise TypeError(
            "`evals` must map names to evaluators: got "
            f"{type(evals).__name__}. Write `cfg.evals = {{'eval': ...}}`."
        )
    named = {}
    for key, evaluator in evals.items():
        if not isinstance(evaluator, EvaluatorBase):
            raise TypeError(
                f"`evals[{key!r}]` must be an evaluator, such as `kd.evals.Evaluator`: "
                f"got {type(evaluator).__name__}."
            )
        if key == CollectionKeys.TRAIN:
            raise ValueError("An evaluator cannot be called 'train'.")
        if not key.replace(".", "_").replace("-", "_").isidentifier():
            raise ValueError(
                f"`evals` has the name {key!r}: use letters, digits, '_', '-' and '.'."
            )
        if evaluator.name not in ("eval", key):
            raise ValueError(
                f"`evals[{key!r}]` has another name, {evaluator.name!r}: leave it out."
            )
        named[key] = evaluator.replace(name=key)
    return named
