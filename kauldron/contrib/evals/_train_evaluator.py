"""`TrainEvaluator`: judges parameters by training on top of them (probing)."""

from __future__ import annotations

import copy
import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn

from kauldron import checkpoints, konfig
from kauldron._base import errors
from kauldron.contrib.evals import _schedules
from kauldron.evals import base
from kauldron.ktyping import PyTree
from kauldron.sharding import TrainState
from kauldron.step import auxiliaries

_default_schedule = functools.partial(_schedules.constant_stop_after_steps, 1000)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class TrainEvaluator(base.EvaluatorBase):
    """Trains another config on the current parameters, and reports its evaluators.

    The other config is that of a `kd.train.Trainer` whose model holds a model (such as
    `kd.contrib.nn.ReadoutWrapper`): that one is replaced by the model of this run, and
    its initial parameters by the current ones. The results are written to collections
    `<name>_<evaluator>`, for the step of this run. Nothing else is written: no
    checkpoints, no training metrics.

    Attributes:
      readout_config: Config (not resolved) of the trainer.
      submodule_to_swap_path: Where in that trainer the model of this run goes.
      subparams_to_swap_path: Where in its parameters those of this run go; the path above
        without `model` unless given.
      stop_after_steps_schedule_fn: From the step of this run to the number of updates.
      overrides: Path in the config -> value.
      readout_inputs: What the heads read: the field of `ReadoutWrapper`.

    Example:

    ```python
    cfg.evals["readout"] = kd.contrib.evals.TrainEvaluator(
        run=kd.evals.EveryNSteps(5_000),
        readout_config=readout.get_config(),
        stop_after_steps_schedule_fn=kd.contrib.evals.constant_stop_after_steps(500),
    )
    ```
    """

    # It becomes a trainer only when it is known what to put into it.
    __konfig_resolve_exclude_fields__: ClassVar[tuple[str, ...]] = ("readout_config",)

    readout_config: Any = dataclasses.field(repr=False)
    submodule_to_swap_path: str = "model.model"
    subparams_to_swap_path: str | None = None
    stop_after_steps_schedule_fn: Callable[[int], int] = dataclasses.field(
        default_factory=_default_schedule
    )
    overrides: Mapping[str, Any] | None = None
    readout_inputs: Mapping[str, Any] | None = None

    def evaluate(
        self, state: TrainState, step: int
    ) -> auxiliaries.AuxiliariesState | None:
        """Trains and evaluates.

        Returns:
          What the evaluator measured; `None` if there are several.
        """
        self._assert_root_cfg_resolved()
        trainer = self._trainer(state)
        trained = _train(trainer, self.stop_after_steps_schedule_fn(step))
        results = []
        for name, evaluator in trainer.evals.items():
            writer = self.writer.replace(collection=f"{self.name}_{name}")
            told = dataclasses.replace(evaluator, writer=writer)
            results.append(told.evaluate(trained, step))
        return results[0] if len(results) == 1 else None

    def _trainer(self, state: TrainState) -> Any:
        cfg = copy.deepcopy(self.readout_config)
        if not isinstance(cfg, konfig.ConfigDict):
            raise TypeError(
                "`readout_config` is a config that is not resolved, such as "
                f"`readout.get_config()` returns: got {type(cfg).__name__}."
            )
        overrides = [
            konfig.Override(path, value, is_text=False)
            for path, value in (self.overrides or {}).items()
        ]
        konfig.apply_overrides(cfg, overrides)
        cfg.checkpointer, cfg.writer = None, None
        trainer = konfig.resolve(cfg)
        if not trainer.evals:
            raise ValueError(
                f"`cfg.evals[{self.name!r}].readout_config` has no `evals`: nothing "
                "would be reported."
            )
        swapped = _put(trainer, self.submodule_to_swap_path, self.base_cfg.model)
        if self.readout_inputs is not None:
            swapped = _put(swapped, "model.readout_inputs", self.readout_inputs)
        path = self.subparams_to_swap_path
        if path is None:
            path = self.submodule_to_swap_path.partition(".")[2]
        loaded = _UseVariables(params=state.params, collections=state.collections)
        swap = dataclasses.replace(loaded, path=path, others=swapped.init_transform)
        return dataclasses.replace(swapped, init_transform=swap)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class _UseVariables(checkpoints.InitTransform):
    """Puts variables of another model into a part of the initial state."""

    params: Any
    collections: Any
    path: str = ""
    others: Any = None

    def transform(self, state: TrainState) -> TrainState:
        state = self.others.transform(state)
        collections = dict(state.collections or {})
        for name, values in (self.collections or {}).items():
            collections[name] = self._put(collections.get(name, {}), values)
        params = self._put(state.params, self.params)
        if jax.tree.structure(params) != jax.tree.structure(state.params):
            raise ValueError(
                f"The parameters at {self.path!r} of the readout's model are not those "
                "of this run's model. Set `submodule_to_swap_path` to where the model is "
                "in the readout's trainer, and `subparams_to_swap_path` to where its "
                "parameters are."
            )
        return dataclasses.replace(state, params=params, collections=collections)

    def transform_after_optimizer(self, state: TrainState) -> TrainState:
        return self.others.transform_after_optimizer(state)

    def _put(self, tree: PyTree, values: Any) -> Any:
        # Copies: a step deletes the arrays of the state that it is given.
        copies = jax.tree.map(jnp.copy, values)
        return _replaced(tree, self.path.split(".") if self.path else [], copies)


def _replaced(tree: PyTree, path: list[str], value: object) -> Any:
    """Returns nested dicts with what is at a path replaced."""
    if not path:
        return value
    inner = _replaced(tree.get(path[0], {}), path[1:], value)
    return {**tree, path[0]: inner}


def _put(obj: Any, path: str, value: Any) -> Any:
    """Returns a copy of nested dataclasses with one attribute changed."""
    name, _, rest = path.partition(".")
    if not hasattr(obj, name):
        raise ValueError(
            f"`submodule_to_swap_path`: {type(obj).__name__} has no {name!r}."
            f"{errors.did_you_mean(name, [f.name for f in dataclasses.fields(obj)])}"
        )
    inner = _put(getattr(obj, name), rest, value) if rest else value
    if isinstance(obj, nn.Module):
        return obj.clone(**{name: inner})
    return dataclasses.replace(obj, **{name: inner})


def _train(trainer: base.Run, num_steps: int) -> TrainState:
    state = trainer.init_state()
    with iter(trainer.train_ds.device_put(trainer.sharding.batch)) as batches:
        for _, batch in zip(range(num_steps), batches, strict=False):
            state, _ = trainer.trainstep.step(state, batch)
    return state
