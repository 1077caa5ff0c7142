"""Published models in a config: the decoder, and the weights that a training begins with."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax

from kauldron import checkpoints, kontext
from kauldron import modules as nn
from kauldron.lm.loading import _load
from kauldron.lm.models._errors import ModelError
from kauldron.lm.tuning._lora import BASE
from kauldron.sharding import TrainState


def published_decoder(
    name_or_path: str,
    *,
    tokens: kontext.Key = "batch.tokens",
    positions: kontext.Key | None = None,
    segment_ids: kontext.Key | None = None,
    **options: Any,
) -> nn.CausalLM:
    """Returns the decoder of a published model, without its weights.

    Args:
      name_or_path: See `kd.lm.find`.
      tokens: Key to the token ids.
      positions: Key to the positions.
      segment_ids: Key to the documents of packed rows.
      **options: `scan_layers`, `remat`, `dtype`, `param_dtype` of `kd.nn.decoder`.

    Example:

    ```python
    cfg.model = kd.lm.published_decoder("smollm2", remat=True)
    cfg.init_transform = kd.lm.PublishedWeights("smollm2")
    ```
    """
    keys: dict[str, Any] = {"positions": positions, "segment_ids": segment_ids}
    return _load.find(name_or_path).model(tokens=tokens, **keys, **options)


@dataclasses.dataclass(frozen=True)
class PublishedWeights(checkpoints.InitTransform):
    """Fills a decoder, or one that is part of the model, with published weights.

    Attributes:
      name_or_path: See `kd.lm.find`.
      into: Path of the decoder in the model, such as `"policy"`; the rest keeps its
        initial values.
      options: Others of `kd.ckpts.PretrainedWeights`, such as `ignore_model_keys`.

    Raises:
      ModelError: If there is no such model.
      CheckpointError: If its files are damaged, or do not fit the decoder.
    """

    name_or_path: str
    into: str = ""
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def check(self, state: TrainState) -> None:
        self._weights(state).check(state)

    def transform(self, state: TrainState) -> TrainState:
        return self._weights(state).transform(state)

    def _weights(self, state: TrainState) -> checkpoints.PretrainedWeights:
        names = {
            jax.tree_util.keystr(path, simple=True, separator=".")
            for path, _ in jax.tree.leaves_with_path(state.params)
        }
        if BASE in (state.collections or {}):
            raise ModelError(
                "The weights of a `kd.lm.LoRA` are not its parameters: they are filled by "
                f"`kd.lm.BaseWeights(kd.lm.PublishedWeights({self.name_or_path!r}))`."
            )
        has_head = f"{self.into}.head".removeprefix(".") in names
        return _load.find(self.name_or_path).weights(
            has_tied_head=not has_head, into=self.into, **self.options
        )
