"""Optimizer chains with named parts, which configs can address."""

from __future__ import annotations

import optax

from kauldron.optim import _ema


def named_chain(
    **transforms: optax.GradientTransformation,
) -> optax.GradientTransformationExtraArgs:
    """Applies gradient transformations one after the other.

    As `optax.named_chain`, with names as keywords, so that a config can change one:
    `--cfg.optimizer.clip.max_norm=0.5`. The state is a dict by name.

    Args:
      **transforms: Name -> transformation, in the order they are applied.

    Raises:
      ValueError: If an `ema_params` is not the last: it averages the parameters that the
        updates lead to, and would not see what comes behind it.
    """
    for name, transform in list(transforms.items())[:-1]:
        if _ema.is_ema(transform):
            raise ValueError(
                f"`{name}=kd.optim.ema_params(...)` must be the last of the chain "
                f"{list(transforms)}: it averages the parameters that the updates lead "
                "to."
            )
    return optax.named_chain(*transforms.items())
