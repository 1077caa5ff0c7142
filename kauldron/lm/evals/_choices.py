"""Multiple choice: which of several continuations of a prompt a model finds likeliest."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

import jax.numpy as jnp
import numpy as np

from kauldron import data, kontext, metrics
from kauldron.ktyping import Array, Int, typechecked
from kauldron.lm.text._tokenizer import Tokenizer
from kauldron.metrics import arrays

_NORMALIZATIONS = ("none", "tokens", "bytes")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ChoicesToTokens(data.MapTransform):
    """Replaces a prompt and its possible continuations by rows of tokens.

    Of `{"prompt": str, "choices": [str], "answer": int}` it makes `tokens`, `targets`,
    `positions`, `segment_ids` (`i32[choices length]`), `loss_mask` (`f32`, 1 where a
    target is of the choice), `num_bytes` (`i32[choices]`) and `answer`, `i32[]`. Other
    keys are dropped. The prompt is encoded with each choice; what both begin with in
    common is context.

    Attributes:
      tokenizer: Of the model.
      num_choices: Of each prompt.
      length: Tokens of a row.
      add_bos: Whether `bos` stands in front.

    Raises:
      DataError: If a key is missing, the number of choices is another one, or a row is
        too long.
    """

    tokenizer: Tokenizer
    num_choices: int
    length: int
    add_bos: bool = False

    def map(self, features: Mapping[str, Any]) -> Any:
        missing = [k for k in ("prompt", "choices", "answer") if k not in features]
        if missing:
            raise data.DataKeyError(
                f"ChoicesToTokens: the elements have no {missing}. They have "
                f"{sorted(features)}."
            )
        choices = [str(choice) for choice in features["choices"]]
        if len(choices) != self.num_choices:
            raise data.DataError(
                f"ChoicesToTokens: `num_choices` is {self.num_choices}, an element has "
                f"{len(choices)}: {choices}."
            )
        prompt = str(features["prompt"])
        texts = [prompt, *(prompt + choice for choice in choices)]
        start, *wholes = self.tokenizer.encode_batch(texts, add_bos=self.add_bos)
        rows = [self._row(start, whole) for whole in wholes]
        return {
            **{name: np.stack([row[name] for row in rows]) for name in rows[0]},
            "num_bytes": np.array([len(c.encode()) for c in choices], np.int32),
            "answer": np.int32(features["answer"]),
        }

    def _row(self, start: np.ndarray, whole: np.ndarray) -> dict[str, np.ndarray]:
        num_predicted = len(whole) - 1
        if not 1 <= num_predicted <= self.length:
            raise data.DataError(
                f"ChoicesToTokens: a prompt with its choice has {len(whole)} tokens, and a "
                f"row has room for 2 to {self.length + 1} (`length={self.length}`)."
            )
        shared = min(len(start), num_predicted)
        differs = np.flatnonzero(start[:shared] != whole[:shared])
        first = int(differs[0]) if len(differs) else shared
        row = {
            name: np.zeros(self.length, np.int32)
            for name in ("tokens", "targets", "positions", "segment_ids")
        }
        row["tokens"][:num_predicted] = whole[:-1]
        row["targets"][:num_predicted] = whole[1:]
        row["positions"][:num_predicted] = np.arange(num_predicted)
        row["segment_ids"][:num_predicted] = 1
        mask = np.zeros(self.length, np.float32)
        mask[max(first - 1, 0) : num_predicted] = 1
        return {**row, "loss_mask": mask}


@dataclasses.dataclass(frozen=True, kw_only=True)
class MultipleChoice(metrics.Metric):
    """Share of prompts whose right continuation is the likeliest.

    Attributes:
      logits: Key to unnormalised scores, `Float["*b choices n vocab"]`.
      targets: Key to the token that follows, `Int["*b choices n"]`.
      loss_mask: Key to which targets are of the choice, `Array["*b choices n"]`.
      answer: Key to the number of the right choice, `Int["*b"]`.
      mask: Key to which prompts count, `Array["*b"]`.
      normalize: What log-likelihoods are divided by: `'none'`, the `'tokens'` of the
        choice, or its `'bytes'`, which is fair to long choices and the same for any
        tokenizer.
      num_bytes: Key to the bytes of the choices, `Int["*b choices"]`; for `'bytes'`.

    Raises:
      ValueError: If `normalize` is unknown, or `'bytes'` without `num_bytes`.
    """

    logits: kontext.Key = "preds.logits"
    targets: kontext.Key = "batch.targets"
    loss_mask: kontext.Key = "batch.loss_mask"
    answer: kontext.Key = "batch.answer"
    mask: kontext.Key | None = None
    normalize: Literal["none", "tokens", "bytes"] = "none"
    num_bytes: kontext.Key | None = None

    State = metrics.AverageState

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.normalize not in _NORMALIZATIONS:
            raise ValueError(
                f"`normalize` of MultipleChoice must be one of {list(_NORMALIZATIONS)}: "
                f"got {self.normalize!r}."
            )
        if self.normalize == "bytes" and self.num_bytes is None:
            raise ValueError(
                "`normalize='bytes'` of MultipleChoice divides by `num_bytes`: set its key."
            )

    @typechecked
    def get_state(
        self,
        logits: Array["*b choices n vocab"],
        targets: Int["*b choices n"],
        loss_mask: Array["*b choices n"],
        answer: Int["*b"],
        num_bytes: Array["*b choices"] | None = None,
        mask: Array | float | None = None,
    ) -> metrics.AverageState:
        own = arrays.logprobs_of(arrays.to_float(logits), targets)
        weights = arrays.to_float(loss_mask)
        scores = jnp.where(weights == 0, 0, own * weights).sum(axis=-1)
        if self.normalize == "tokens":
            scores /= jnp.maximum(weights.sum(axis=-1), 1)
        elif num_bytes is not None and self.normalize == "bytes":
            scores /= jnp.maximum(arrays.to_float(num_bytes), 1)
        is_right = scores.argmax(axis=-1) == answer
        return self.State.from_values(is_right, mask=mask)
