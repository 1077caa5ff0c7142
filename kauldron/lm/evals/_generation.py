"""`GenerationEvaluator`: lets a model write, and measures what it wrote."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from kauldron import evals, metrics
from kauldron._base import root_refs
from kauldron.lm.generation import _sampling
from kauldron.lm.generation._text_generator import TextGenerator
from kauldron.lm.text._tokenizer import Tokenizer
from kauldron.lm.tuning._causal_lm import causal_lm
from kauldron.sharding import TrainState
from kauldron.step import auxiliaries
from kauldron.step.context import Context


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class GenerationEvaluator(evals.EvaluatorBase):
    """Writes texts for prompts, in batches with a cache, and hands them to metrics.

    Metrics find by key what was written, `preds.text`, a list of strings, and the values of
    the elements, `batch.<name>`, lists too. With `num_samples > 1`, each element is there
    so many times in a row; `batch.sample` is the number of the sample.

    A `kd.lm.LoRA` writes with its updates merged, `kd.lm.WithReference` as its policy.

    Attributes:
      prompts: Elements, dicts with a prompt and whatever metrics need; none is skipped.
      tokenizer: Of the model.
      metrics: Name -> metric of texts.
      prompt_key: Where the prompt of an element is: a text to go on with, or messages to
        answer.
      max_tokens: The most tokens to write.
      sampling: How tokens are chosen; by default the most likely.
      num_samples: Texts for each prompt.
      batch_size: Texts that are written at once.
      context_length: The most tokens of prompt and text; `None` is no bound.
      seed: Of the samples; the trainer's unless given.
      model: The model; the trainer's unless given.

    Raises:
      ValueError: If there is no prompt, an element lacks the key, or a number is < 1.
    """

    prompts: Sequence[Mapping[str, Any]]
    tokenizer: Tokenizer
    metrics: Mapping[str, metrics.Metric]
    prompt_key: str = "prompt"
    max_tokens: int = 128
    sampling: _sampling.Sampling = dataclasses.field(default_factory=_sampling.Sampling)
    num_samples: int = 1
    batch_size: int = 16
    context_length: int | None = None
    seed: int = root_refs.ROOT_CFG_REF.seed
    model: Any = root_refs.ROOT_CFG_REF.model

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("max_tokens", "num_samples", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(
                    f"`{name}` of GenerationEvaluator must be >= 1: got "
                    f"{getattr(self, name)}."
                )
        if not len(self.prompts):
            raise ValueError("`prompts` of GenerationEvaluator is empty.")
        first = self.prompts[0]
        if self.prompt_key not in first:
            raise ValueError(
                f"GenerationEvaluator finds no {self.prompt_key!r} in its elements, which "
                f"have {sorted(first)}: set `prompt_key`."
            )

    def measures(self) -> Collection[str]:
        return tuple(self.metrics)

    def evaluate(self, state: TrainState, step: int) -> auxiliaries.AuxiliariesState:
        self._assert_root_cfg_resolved()
        model, params = causal_lm(self.model, state)
        generator = TextGenerator(
            model=model,
            params=params,
            tokenizer=self.tokenizer,
            context_length=self.context_length,
        )
        num_texts = len(self.prompts) * self.num_samples
        states: dict[str, metrics.State] = {}
        for start in range(0, num_texts, self.batch_size):
            numbers = range(start, min(start + self.batch_size, num_texts))
            context = self._write(generator, numbers, step)
            for name, metric in self.metrics.items():
                new = metric.get_state_from_context(context)
                states[name] = states[name].merge(new) if name in states else new
        finals = {name: merged.finalize() for name, merged in states.items()}
        aux = auxiliaries.AuxiliariesState(metric_states=finals)
        self.writer.write_step_metrics(
            step=step, aux=aux, schedules={}, log_summaries=True
        )
        return aux

    def _write(self, generator: TextGenerator, numbers: range, step: int) -> Context:
        """Returns texts `numbers`, and the elements that they are of."""
        elements = [dict(self.prompts[i // self.num_samples]) for i in numbers]
        texts = generator(
            [element[self.prompt_key] for element in elements],
            max_tokens=self.max_tokens,
            sampling=self.sampling,
            # Of each text its own, whatever the batch it is in.
            seeds=[self.seed + i for i in numbers],
        )
        batch = {name: [e[name] for e in elements] for name in elements[0]}
        batch["sample"] = [i % self.num_samples for i in numbers]
        return Context(step=step, batch=batch, preds={"text": texts})
