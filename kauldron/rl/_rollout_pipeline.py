"""`RolloutPipeline`: batches of answers by the model that is trained."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from kauldron import data, lm
from kauldron._base import errors, root_refs
from kauldron.rl import _rewards, _rollout_iterator, _rows

_KINDS = ("answers", "pairs")


@dataclasses.dataclass(frozen=True, kw_only=True)
class RolloutPipeline(data.Pipeline):
    """Lets the model that is trained answer prompts, and measures the answers.

    A batch of `"answers"` has a row for each: `tokens`, `targets`, `positions`,
    `segment_ids` `i32[b length]`, `loss_mask`, `old_logps` (the log-probability of each
    token when it was drawn) and `advantages` (over the other answers to the prompt)
    `f32[b length]`, for `kd.lm.GRPO`. Rows of a group follow each other. A batch of
    `"pairs"` has the best and the worst answer to each prompt, `chosen` and `rejected` of
    these, and `pair_mask` `f32[b]`, 0 where they are equally good, for `kd.lm.DPO`.

    In both, `rewards.<name>`, `rewards.total`, `num_tokens` and `is_cut` are of all
    answers, `f32[b]` or for pairs `f32[b group_size]`: `kd.rl.RolloutStatistics`.

    Answers are drawn by the parameters that the next step begins with, of a
    `kd.nn.CausalLM`, a `kd.lm.LoRA` (its updates included) or a `kd.lm.WithReference` of
    one, in the trainer's precision. They depend on the
    parameters, the seed and the number of the prompt alone, so that a run that was
    interrupted continues as if it had not been.

    Attributes:
      prompts: Elements, dicts with a prompt and whatever rewards need.
      tokenizer: Of the model.
      rewards: Name to reward; the sum by their weights counts.
      length: Tokens of a row, prompt and answer.
      max_tokens: The most tokens of an answer.
      group_size: Answers to a prompt, >= 2.
      batch_size: Rows: answers, a multiple of `group_size`, or pairs.
      kind: `"answers"` or `"pairs"`.
      prompt_key: Where the prompt of an element is: a text to go on with, or messages to
        answer.
      ddof: Of advantages, see `kd.lm.group_advantages`.
      divides_by_std: Of advantages, see there.
      sync_every: For how many batches answers are drawn at once, all by the parameters
        of that moment.
      shuffle: Whether the prompts come in a random order, another one in each epoch.
      num_epochs: How often each prompt comes; `None` is endless.
      num_slots: Answers that are written at the same time.
      model: The model; the trainer's unless given.
      precision: In which answers are drawn, by the paths of the decoder's modules; the
        trainer's unless given.

    Raises:
      DataError: If numbers don't fit together, or there is no prompt.
      RewardError: If there is no reward.

    Reference: Shao et al. 2024, DeepSeekMath, §4, arXiv:2402.03300; Guo et al. 2024,
    Direct Language Model Alignment from Online AI Feedback, arXiv:2402.04792.
    """

    prompts: Sequence[Mapping[str, Any]]
    tokenizer: lm.Tokenizer
    rewards: Mapping[str, _rewards.Reward]
    length: int
    max_tokens: int
    group_size: int = 8
    kind: Literal["answers", "pairs"] = "answers"
    prompt_key: str = "prompt"
    ddof: Literal[0, 1] = 0
    divides_by_std: bool = True
    sync_every: int = 1
    shuffle: bool = True
    num_epochs: int | None = None
    num_slots: int = 32
    model: Any = root_refs.ROOT_CFG_REF.model
    precision: Any = root_refs.ROOT_CFG_REF.precision

    def __post_init__(self) -> None:
        super().__post_init__()
        _rewards.check_rewards(self.rewards, "RolloutPipeline")
        for name, least in (
            *(("max_tokens", 1), ("group_size", 2), ("sync_every", 1)),
            *(("num_epochs", 1), ("num_slots", 1), ("length", self.max_tokens + 1)),
        ):
            value = getattr(self, name)
            if value is not None and value < least:
                raise data.DataError(
                    f"`{name}` of RolloutPipeline must be at least {least}: got {value}."
                )
        if self.kind not in _KINDS:
            raise data.DataError(
                f"`kind` of RolloutPipeline must be one of {list(_KINDS)}: got "
                f"{self.kind!r}.{errors.did_you_mean(str(self.kind), _KINDS)}"
            )
        self._check_batch_size()
        if not len(self.prompts):
            raise data.DataError("`prompts` of RolloutPipeline is empty.")
        if self.prompt_key not in self.prompts[0]:
            raise data.DataError(
                f"RolloutPipeline finds no {self.prompt_key!r} in its elements, which "
                f"have {sorted(self.prompts[0])}: set `prompt_key`."
            )

    def _check_batch_size(self) -> None:
        size = self.batch_size
        if size is None or (self.kind == "answers" and size % self.group_size):
            raise data.DataError(
                "`batch_size` of RolloutPipeline must be a multiple of the answers to a "
                f"prompt, group_size={self.group_size}: got {size}."
            )

    @property
    def num_groups(self) -> int:
        """Prompts of a batch."""
        size = self.batch_size or 0
        return size if self.kind == "pairs" else size // self.group_size

    @property
    def is_endless(self) -> bool:
        return self.num_epochs is None

    def __len__(self) -> int:
        if self.num_epochs is None:
            raise TypeError(
                "`RolloutPipeline` is endless, as `num_epochs` is None: it has no length."
            )
        return len(self.prompts) * self.num_epochs // self.num_groups

    @functools.cached_property
    def element_spec(self) -> Any:
        assert self.batch_size is not None, "checked when it was made"
        return _rows.row_specs(
            (self.batch_size, self.length),
            list(self.rewards),
            group_size=self.group_size,
            has_pairs=self.kind == "pairs",
        )

    def __iter__(self) -> data.iters.Iterator:
        return _rollout_iterator.RolloutIterator(
            self, seed=self._int_seed, may_change_seed=self._has_arbitrary_seed
        )
