"""Dropout that follows the train/eval mode."""

from __future__ import annotations

import flax.linen as nn

from kauldron.ktyping import Array, PRNGKey, typechecked
from kauldron.modules import _train_property


class Dropout(nn.Dropout):
    """`flax.linen.Dropout`, active in training passes only.

    Raises:
      ValueError: If `deterministic` is passed: the train property decides.

    Reference: Srivastava et al. 2014, Dropout, JMLR 15.
    """

    is_training = _train_property.train_property()

    @nn.compact
    @typechecked
    def __call__(
        self,
        inputs: Array["*a"],
        deterministic: bool | None = None,
        rng: PRNGKey | None = None,
    ):
        if deterministic is not None or self.deterministic is not None:
            raise ValueError(
                "`kd.nn.Dropout` follows the train property; don't pass "
                "`deterministic`. Use `flax.linen.Dropout` to decide by hand."
            )
        return super().__call__(inputs, deterministic=not self.is_training, rng=rng)
