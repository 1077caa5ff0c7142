"""Learning-rate schedules that optax lacks."""

from __future__ import annotations

import math
from typing import Any, Literal

import jax.numpy as jnp
import optax

from kauldron.ktyping import Scalar


def wsd_schedule(
    peak_value: float,
    *,
    num_steps: int,
    warmup_steps: int = 0,
    decay_steps: int,
    init_value: float = 0.0,
    end_value: float = 0.0,
    decay: Literal["linear", "cosine", "sqrt"] = "linear",
) -> optax.Schedule:
    """Warms up, stays, and decays at the end (WSD): a run can be made longer afterwards.

    Args:
      peak_value: Value from the end of the warm-up to the beginning of the decay.
      num_steps: Steps in all; usually `cfg.ref.num_train_steps`.
      warmup_steps: Steps of the linear way from `init_value` to `peak_value`.
      decay_steps: Last steps, on the way from `peak_value` to `end_value`.
      init_value: Value at step 0, if there is a warm-up.
      end_value: Value at step `num_steps` and after.
      decay: Shape of the decay; with `t` from 0 to 1 in it, the part of the way that is
        left is `1 - t`, `(1 + cos(pi t)) / 2`, or `1 - sqrt(t)`.

    Raises:
      ValueError: If warm-up and decay are longer than the run.

    Reference: Hu et al. 2024, MiniCPM, arXiv:2404.06395; Haegele et al. 2024, Scaling
    Laws and Compute-Optimal Training Beyond Fixed Training Durations, arXiv:2405.18392
    (`sqrt`).
    """
    if decay not in _SHAPES:
        raise ValueError(f"`decay` must be one of {list(_SHAPES)}: got {decay!r}.")
    if warmup_steps < 0 or decay_steps < 0 or warmup_steps + decay_steps > num_steps:
        raise ValueError(
            f"The warm-up ({warmup_steps} steps) and the decay ({decay_steps} steps) must "
            f"fit into num_steps={num_steps}."
        )

    def schedule(step: Scalar) -> Any:
        step = jnp.asarray(step, jnp.float32)
        warmed_up = jnp.clip(step / warmup_steps, 0, 1) if warmup_steps else 1.0
        rising = jnp.asarray(init_value + (peak_value - init_value) * warmed_up)
        if not decay_steps:
            return rising
        decay_start = num_steps - decay_steps
        t = jnp.clip((step - decay_start) / decay_steps, 0, 1)
        falling = end_value + (peak_value - end_value) * _SHAPES[decay](t)
        return jnp.where(step < decay_start, rising, falling)

    return schedule


_SHAPES = {
    "linear": lambda t: 1 - t,
    "cosine": lambda t: (1 + jnp.cos(math.pi * t)) / 2,
    "sqrt": lambda t: 1 - jnp.sqrt(t),
}
