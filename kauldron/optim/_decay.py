"""Weight-decay masks and layer-wise learning-rate decay."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax

from kauldron.kontext import leaf_globs
from kauldron.ktyping import Array, PyTree, typechecked
from kauldron.optim import _paths

_VECTORS = frozenset({"bias", "scale"})
_NORM = re.compile(r"norm", re.IGNORECASE)


@typechecked
def no_bias_or_norm(params: PyTree[Array]) -> PyTree[bool]:
    """Selects the parameters to apply weight decay to: no biases, no norms.

    To be given as it is: `optax.adamw(1e-3, mask=kd.optim.no_bias_or_norm)`. Left out is
    what has fewer than two axes, is named `bias` or `scale`, or belongs to a module with
    `norm` in its name (`LayerNorm_0`); the names count also where `nn.scan` has added an
    axis.

    Args:
      params: The parameters.

    Returns:
      A tree of bools of their structure.
    """
    decays = [
        jnp.ndim(leaf) > 1 and not is_bias_or_norm(path)
        for path, leaf in zip(
            _paths.parameter_paths(params), jax.tree.leaves(params), strict=True
        )
    ]
    return jax.tree.structure(params).unflatten(decays)


def is_bias_or_norm(path: str) -> bool:
    names = path.split(".")
    return not _VECTORS.isdisjoint(names) or any(map(_NORM.search, names))


def layerwise_decay(
    decay: float,
    *,
    embeddings: str | Sequence[str],
    layers: str = r"(?i:.*(?:layers?|blocks?))_(\d+)",
) -> optax.GradientTransformation:
    """Lowers the learning rate of layers, the more the nearer they are to the input.

    The updates of layer `i` of `n` are multiplied by `decay ** (n - i)`, those of the
    embeddings by `decay ** (n + 1)`, all others (head, last norm) by 1. It comes last in
    a chain, behind the learning rate.

    Args:
      decay: Factor from one layer to the one below, in `(0, 1]`.
      embeddings: Globs of what comes before the first layer, such as `'patch_embed'`.
      layers: Regular expression of the name of a layer, its group is the number from 0.
        The first component of a path that it matches as a whole counts.

    Raises:
      ValueError: If `decay` is not in `(0, 1]`.
      NoMatchError (when the optimizer is initialised): If there are no layers, or a glob
        matches no parameter.

    Reference: Bao et al. 2021, BEiT, arXiv:2106.08254, appendix; as in its code, the head
    has factor 1.
    """
    if not 0 < decay <= 1:
        raise ValueError(f"`decay` must be in (0, 1]: got {decay}.")
    pattern = re.compile(layers)

    def factors(params: PyTree) -> list[float]:
        paths = _paths.parameter_paths(params)
        depths = [_layer_of(path, pattern) for path in paths]
        num_layers = max((d for d in depths if d is not None), default=-1) + 1
        if not num_layers:
            raise _paths.NoMatchError(
                f"No parameter is in a layer: no part of a path matches {layers!r}. Set "
                "`layers` to a regular expression such as 'block_(\\d+)'. The parameters "
                f"are {leaf_globs.listed(paths)}."
            )
        first = _paths.selected(embeddings, params, of="`embeddings`")
        powers = [
            num_layers + 1 if is_first else 0 if depth is None else num_layers - depth
            for is_first, depth in zip(first, depths, strict=True)
        ]
        return [decay**power for power in powers]

    def init(params: PyTree) -> optax.EmptyState:
        factors(params)  # raises
        return optax.EmptyState()

    def update(
        updates: PyTree, state: PyTree, params: PyTree = None
    ) -> tuple[Any, Any]:
        leaves, structure = jax.tree.flatten(updates)
        scaled = [u * f for u, f in zip(leaves, factors(updates), strict=True)]
        return structure.unflatten(scaled), state

    return optax.GradientTransformation(init, update)


def _layer_of(path: str, pattern: re.Pattern[str]) -> int | None:
    for name in path.split("."):
        if match := pattern.fullmatch(name):
            return int(match[1])
    return None
