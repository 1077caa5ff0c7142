"""Muon, with a rule for which parameters count as matrices."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import optax
import optax.contrib

from kauldron.kontext import leaf_globs
from kauldron.ktyping import PyTree
from kauldron.optim import _decay, _learning_rates, _paths


def muon(
    learning_rate: optax.ScalarOrSchedule,
    *,
    exclude: str | Sequence[str] = (),
    matrices: Mapping[str, Sequence[Sequence[int]]] | None = None,
    beta: float = 0.95,
    nesterov: bool = True,
    ns_steps: int = 5,
    consistent_rms: float | None = None,
    weight_decay: float = 0.0,
    adam_learning_rate: optax.ScalarOrSchedule | None = None,
    adam_b1: float = 0.9,
    adam_b2: float = 0.999,
    adam_weight_decay: float = 0.0,
) -> optax.GradientTransformationExtraArgs:
    """Muon for the matrices inside a model, AdamW for everything else.

    `optax.contrib.muon` takes every array of two axes for a matrix. Here embeddings
    (parameters named `embedding`), norms and what is excluded go to AdamW, and weights of
    more axes can be said to be matrices. The weight decay of AdamW skips biases and norms.

    Args:
      learning_rate: Of Muon; number or schedule.
      exclude: Globs of parameters that are not hidden layers, such as the head.
      matrices: Glob -> (axes of the inputs, axes of the outputs), for parameters of more
        than two axes; the other axes are of several matrices. Attention of Flax:
        `{'**.query.kernel': ((0,), (1, 2)), '**.out.kernel': ((0, 1), (2,))}`.
        Convolutions: `{'**.kernel': ((0, 1, 2), (3,))}`.
      beta: Momentum of Muon.
      nesterov: Whether the momentum of both is that of Nesterov.
      ns_steps: Newton-Schulz iterations.
      consistent_rms: Makes the updates of Muon this large (0.2 is as large as those of
        AdamW, so that both can share a learning rate); by default they are
        `sqrt(max(1, outputs / inputs))` times an orthogonal matrix.
      weight_decay: Of Muon, times its learning rate.
      adam_learning_rate: Of AdamW; that of Muon unless given.
      adam_b1: First moment of AdamW.
      adam_b2: Second moment of AdamW.
      adam_weight_decay: Of AdamW, times its learning rate.

    Raises (when the optimizer is initialised):
      NoMatchError: If a glob matches no parameter, or there is no matrix.

    Reference: Jordan et al. 2024, Muon, https://kellerjordan.github.io/posts/muon; Liu et
    al. 2025, Muon is Scalable for LLM Training, arXiv:2502.16982.
    """
    routing = _Routing(exclude, dict(matrices or {}))
    has_own_rate = adam_learning_rate is not None
    optimizer = optax.partition(
        {
            "muon": optax.contrib.muon(
                learning_rate,
                beta=beta,
                nesterov=nesterov,
                ns_steps=ns_steps,
                consistent_rms=consistent_rms,
                weight_decay=weight_decay,
                muon_weight_dimension_numbers=routing.dimension_numbers,
            ),
            "adam": optax.adamw(
                adam_learning_rate if has_own_rate else learning_rate,
                b1=adam_b1,
                b2=adam_b2,
                nesterov=nesterov,
                weight_decay=adam_weight_decay,
                mask=_decay.no_bias_or_norm,
            ),
        },
        routing.labels,
    )
    rates = {"": learning_rate}
    if has_own_rate:
        rates = {"muon": learning_rate, "adam": adam_learning_rate}
    _learning_rates.declare_learning_rates(optimizer.update, rates)

    def init(params: PyTree) -> Any:
        routing.check(params)
        return optimizer.init(params)

    return optax.GradientTransformationExtraArgs(init, optimizer.update)


@dataclasses.dataclass(frozen=True)
class _Routing:
    """Which parameters are matrices."""

    exclude: str | Sequence[str]
    matrices: Mapping[str, Sequence[Sequence[int]]]

    def check(self, params: PyTree) -> None:
        """Raises if a glob is for nothing."""
        _paths.selected(self.exclude, params, of="`exclude`")
        for pattern in self.matrices:
            _paths.selected(pattern, params, of="`matrices`")
        if not any(label == "muon" for label in jax.tree.leaves(self.labels(params))):
            paths = leaf_globs.listed(_paths.parameter_paths(params))
            raise _paths.NoMatchError(
                "Muon has no matrix to train: use another optimizer, or tell which "
                f"parameters are matrices with `matrices`. The parameters are {paths}."
            )

    def labels(self, params: PyTree) -> Any:
        labels = ["adam" if spec is None else "muon" for spec in self._specs(params)]
        return jax.tree.structure(params).unflatten(labels)

    def dimension_numbers(self, params: PyTree) -> Any:
        return jax.tree.structure(params).unflatten(self._specs(params))

    def _specs(self, params: PyTree) -> list[Any]:
        """Returns how each leaf is a matrix, or `None`."""
        paths = _paths.parameter_paths(params)
        return [
            None
            if _is_excluded(path, self.exclude) or _decay.is_bias_or_norm(path)
            else self._spec(path, leaf.ndim)
            for path, leaf in zip(paths, jax.tree.leaves(params), strict=True)
        ]

    def _spec(self, path: str, ndim: int) -> Any:
        for pattern, (inputs, outputs) in self.matrices.items():
            if leaf_globs.matches(pattern, [path])[0] and ndim > max(*inputs, *outputs):
                return optax.contrib.MuonDimensionNumbers(tuple(inputs), tuple(outputs))
        return optax.contrib.MuonDimensionNumbers() if ndim == 2 else None


def _is_excluded(path: str, exclude: str | Sequence[str]) -> bool:
    patterns = (exclude,) if isinstance(exclude, str) else exclude
    is_embedding = "embedding" in path.split(".")
    return is_embedding or any(leaf_globs.matches(p, [path])[0] for p in patterns)
