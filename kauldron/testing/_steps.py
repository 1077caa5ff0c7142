"""Checks that the parts of a trainer fit together, without computing anything."""

from __future__ import annotations

import functools

import jax

from kauldron.testing import assert_utils
from kauldron.train import trainer_lib


def assert_step_specs(trainer: trainer_lib.Trainer) -> None:
    """Traces the initial state and one update of a trainer; computes nothing.

    Needs the element spec of `train_ds`, not its data; no checkpoint is read.

    Args:
      trainer: A `kd.train.Trainer`.

    Raises:
      AssertionError: If the state after the step has another structure, shape or dtype
        than the one before.
      Exception: Whatever model, losses, metrics and optimizer raise while traced.

    Example:

    ```python
    from examples import digits_classifier
    from kauldron import kd, konfig


    def test_my_config():
        cfg = digits_classifier.get_config()
        kd.testing.assert_step_specs(konfig.resolve(cfg))


    test_my_config()
    ```
    """
    spec = trainer.train_ds.element_spec
    step = functools.partial(
        trainer.trainstep.step,
        return_losses=True,
        return_metrics=True,
        return_summaries=True,
    )
    before = jax.eval_shape(
        lambda: trainer.init_state(skip_transforms=True, element_spec=spec)
    )
    batch = jax.tree.map(lambda s: jax.ShapeDtypeStruct(s.shape, s.dtype), spec)
    after, _ = jax.eval_shape(step, before, batch)
    assert_utils.assert_trees_all_same_spec(before, after)
