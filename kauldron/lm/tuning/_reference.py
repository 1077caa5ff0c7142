"""`WithReference`: a policy, and the frozen model that it is compared with."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from kauldron import checkpoints, kontext
from kauldron import modules as kd_nn
from kauldron.ktyping import Array, Float, PyTree
from kauldron.lm.models import _chunked_head
from kauldron.lm.tuning._lora import LoRA
from kauldron.sharding import TrainState

_Function = Callable[..., Float["*b n"]]

REFERENCE = "reference"
_PAIR = ("chosen", "rejected")
_KEYS = ("tokens", "targets", "positions", "segment_ids")


class WithReference(nn.Module):
    """Log-probabilities of tokens under a model, and under a frozen reference.

    Returns `{"policy": {"logps": ...}, "reference": {"logps": ...}}`, each `Float["*b n"]`
    of the targets; of preference pairs, `{"chosen": ..., "rejected": ...}` of these. Both
    answers of a pair go through the model at once.

    The parameters of the reference are the collection `reference`, without gradient or
    optimizer state: equal to the policy's when the run starts, see `ReferenceFromPolicy`.
    A `LoRA` policy needs no copy: the reference is the model without its updates.

    The logits of all tokens are never in memory: those of `1 / num_chunks` of them are, and
    the backward pass computes them again.

    Attributes:
      policy: `kd.nn.CausalLM` or a `LoRA` of one.
      rows: Key to the rows: a dict with `tokens`, `targets`, and if there are any
        `positions` and `segment_ids`, all `Int["*b n"]`; or pairs, a dict with `chosen`
        and `rejected` of these.
      num_chunks: Parts into which each row is cut.
    """

    policy: nn.Module
    rows: kontext.Key = "batch"
    num_chunks: int = 8

    @nn.compact
    def __call__(self, rows: PyTree) -> dict[str, Any]:
        joined, split = _joined(rows)
        inputs = (joined["tokens"], joined.get("positions"), joined.get("segment_ids"))

        def logps_of(model: nn.Module, *inputs: Any) -> jax.Array:
            return _logps(model, inputs, joined["targets"], self.num_chunks)

        logps = self._policy(logps_of, inputs)
        with kd_nn.set_train_property(False):
            frozen = jax.lax.stop_gradient(self._reference(logps_of, inputs))
        return {
            "policy": {"logps": split(logps)},
            "reference": {"logps": split(frozen)},
        }

    def _policy(self, logps_of: _Function, inputs: tuple[Any, ...]) -> Float["*b n"]:
        if isinstance(self.policy, LoRA):
            return self.policy.run(logps_of, *inputs)
        return logps_of(self.policy, *inputs)

    def _reference(self, logps_of: _Function, inputs: tuple[Any, ...]) -> Float["*b n"]:
        if isinstance(self.policy, LoRA):
            return self.policy.run(logps_of, *inputs, is_adapted=False)
        if self.is_initializing():
            for name, value in self.policy.variables["params"].items():
                copied = jax.tree.map(jnp.copy, value)
                self.policy.put_variable(REFERENCE, name, copied)

        def as_params(variables: Mapping[str, Any]) -> dict[str, Any]:
            return {"params": variables[REFERENCE]}

        # What a reference keeps is nobody's intermediate value.
        run = nn.map_variables(
            logps_of,
            ("params", REFERENCE),
            trans_in_fn=as_params,
            variables=nn.DenyList("intermediates"),
        )
        return run(self.policy, *inputs)


@dataclasses.dataclass(frozen=True)
class ReferenceFromPolicy(checkpoints.InitTransform):
    """Makes the reference equal to the policy, after what else an init transform does.

    Attributes:
      first: What is done before, such as loading the policy.
    """

    first: checkpoints.InitTransform = dataclasses.field(
        default_factory=checkpoints.NoopTransform
    )

    def check(self, state: TrainState) -> None:
        self.first.check(state)

    def transform(self, state: TrainState) -> TrainState:
        state = self.first.transform(state)
        # Copies: a step gives parameters away.
        reference = {"policy": jax.tree.map(jnp.copy, state.params["policy"])}
        collections = {**state.collections, REFERENCE: reference}
        return dataclasses.replace(state, collections=collections)

    def transform_after_optimizer(self, state: TrainState) -> TrainState:
        return self.first.transform_after_optimizer(state)


def _logps(
    module: nn.Module, inputs: tuple[Any, ...], targets: Array, num_chunks: int
) -> jax.Array:
    """Returns the log-probability of each target, from a part of the logits at a time."""
    model: Any = module
    outputs = model(*inputs, with_logits=False)
    head = _chunked_head.Head(
        num_chunks=num_chunks,
        is_transposed=model.has_tied_head,
        softcap=model.head_softcap,
    )
    nats = _chunked_head.token_nats(
        outputs["hidden"], outputs["head"], targets, head=head
    )
    return -nats


def _joined(rows: Mapping[str, Any]) -> tuple[dict[str, Any], Any]:
    """Returns rows as one dict of arrays, and the function that takes results apart.

    The two answers of a pair are a new axis before the tokens, so that a batch over
    devices stays where it is.

    Raises:
      ValueError: If these are no rows.
    """
    if set(_PAIR) <= set(rows):
        given = [_row(rows[side]) for side in _PAIR]
        lengths = [row["tokens"].shape[-1] for row in given]
        filled = [_fill(row, max(lengths)) for row in given]
        joined: dict[str, Any] = {
            key: jnp.stack([row[key] for row in filled], axis=-2)
            for key in filled[0]
            if key in filled[1]
        }

        def split(x: Array) -> dict[str, Array]:
            return {side: x[..., i, : lengths[i]] for i, side in enumerate(_PAIR)}

        return joined, split
    return _row(rows), lambda x: x


def _row(rows: Mapping[str, Any]) -> dict[str, Array]:
    missing = [key for key in ("tokens", "targets") if key not in rows]
    if missing:
        raise ValueError(
            "`WithReference.rows` must have `tokens` and `targets`, or `chosen` and "
            f"`rejected` with these: got {sorted(rows)}."
        )
    return {key: rows[key] for key in _KEYS if key in rows}


def _fill(row: dict[str, Array], length: int) -> dict[str, Array]:
    def fill(x: Array) -> Array:
        missing = length - x.shape[-1]
        return jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, missing)]) if missing else x

    return {key: fill(x) for key, x in row.items()}
