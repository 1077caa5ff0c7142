"""The contract of init transforms."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from kauldron import checkpoints
from kauldron.evals import base
from kauldron.sharding import TrainState
from kauldron.testing import assert_utils
from kauldron.testing._requirements import require, require_same_bits


def check_init_transform(
    make: Callable[[], checkpoints.InitTransform], trainer: base.Run
) -> None:
    """Checks that an init transform keeps its contract in a run.

    It proves:

    - Neither method changes the structure, shapes or dtypes of a state, with and without
      an optimizer state.
    - A run that is started twice starts with the same bits.
    - The step of a new run stays a scalar integer.

    Args:
      make: Returns the transform.
      trainer: A `kd.train.Trainer` whose initial state it is for. Its optimizer and
        model are used, its own `init_transform` is not.

    Raises:
      AssertionError: Says what does not hold.

    Example:

    ```python
    import dataclasses

    import jax
    from examples import digits_classifier
    from kauldron import kd, konfig


    def small_trainer():
        cfg = digits_classifier.get_config()
        cfg.num_train_steps = 3
        return konfig.resolve(cfg)


    class Rescale(kd.ckpts.InitTransform):
        def transform(self, state):
            params = jax.tree.map(lambda x: 2 * x, state.params)
            return dataclasses.replace(state, params=params)


    def test_my_transform_keeps_its_contract():
        kd.testing.check_init_transform(Rescale, small_trainer())


    test_my_transform_keeps_its_contract()
    ```
    """
    before = _state(trainer, skip_optimizer=True)
    after = make().transform(_state(trainer, skip_optimizer=True))
    _require_same_specs(after, before, "transform")
    whole = _state(trainer)
    last = make().transform_after_optimizer(_state(trainer))
    _require_same_specs(last, whole, "transform_after_optimizer")
    first, again = (trainer.replace(init_transform=make()).init_state() for _ in "12")
    _require_same_specs(first, whole, "both methods")
    require_same_bits(again, first, "A second start begins with another state.")
    step = np.asarray(first.step)
    require(
        np.issubdtype(step.dtype, np.integer) and step.shape == (),
        f"The step must stay an integer: got {step.dtype}{list(step.shape)}.",
    )


def _state(trainer: base.Run, *, skip_optimizer: bool = False) -> TrainState:
    return trainer.init_state(skip_transforms=True, skip_optimizer=skip_optimizer)


def _require_same_specs(found: Any, expected: Any, method: str) -> None:
    require(
        isinstance(found, TrainState),
        f"`{method}` must return a `TrainState`: got {type(found).__name__}.",
    )
    try:
        assert_utils.assert_trees_all_same_spec(expected, found)
    except AssertionError as e:
        raise AssertionError(f"`{method}` changed what the state is: {e}") from e
