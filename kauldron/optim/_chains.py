"""Chains whose parts have names, so that configs can address them."""

from __future__ import annotations

import optax


def named_chain(
    **transforms: optax.GradientTransformation,
) -> optax.GradientTransformationExtraArgs:
    """Applies gradient transformations one after the other.

    As `optax.named_chain`, with names as keywords, so that a config can change one:
    `--cfg.optimizer.clip.max_norm=0.5`. The state is a dict by name.

    Args:
      **transforms: Name -> transformation, in the order they are applied.
    """
    return optax.named_chain(*transforms.items())
