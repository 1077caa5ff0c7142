"""Per-parameter optimizers, chosen by path."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from typing import Any

import jax
import optax

from kauldron.ktyping import PyTree
from kauldron.optim import _paths


def by_path(
    optimizers: Mapping[str, optax.GradientTransformation | None],
) -> optax.GradientTransformationExtraArgs:
    """Gives each part of the parameters its own optimizer.

    The first glob that matches a parameter counts, so write special cases first and `'**'`
    last. `None` freezes: such parameters stay bit-identical, and nothing is kept for them.
    Every parameter must be matched, and every glob must get one.

    Each optimizer sees its own parameters only: `optax.clip_by_global_norm` inside one is
    of their norm. To clip by the norm of all, put it before `by_path` in a chain.

    Args:
      optimizers: Glob relative to the parameters -> optimizer. `encoder` is everything
        below the encoder, `**.bias` are the biases, `encoder.*.kernel` the kernels one
        level below.

    Raises (when the optimizer is initialised):
      NoMatchError: If a glob gets no parameter.
      RoutingError: If a parameter is matched by no glob.

    Example:

    ```python
    import optax
    from kauldron import kd

    kd.optim.by_path(
        {
            "encoder.embed": None,
            "encoder": optax.adam(1e-4),
            "**": optax.adam(1e-3),
        }
    )
    ```
    """
    if not optimizers:
        raise ValueError("`by_path` needs at least one glob, such as '**'.")
    tags = _tags(optimizers)

    def labels(params: PyTree) -> Any:
        owners = _paths.route(optimizers, params)
        return jax.tree.structure(params).unflatten(tags[p] for p in owners)

    transforms: dict[Hashable, optax.GradientTransformation] = {
        tags[pattern]: optax.set_to_zero() if optimizer is None else optimizer
        for pattern, optimizer in optimizers.items()
    }
    return optax.partition(transforms, labels, mask_compatible_extra_args=True)


def _tags(patterns: Iterable[str]) -> dict[str, str]:
    """Returns the names of globs in states and logs, where stars would be in the way."""
    tags: dict[str, str] = {}
    for pattern in patterns:
        tag = _tag(pattern)
        tags[pattern] = pattern if tag in tags.values() else tag
    return tags


def _tag(pattern: str) -> str:
    if pattern == "**":
        return "rest"
    return ".".join("any" if p == "*" else p for p in pattern.split(".") if p != "**")
