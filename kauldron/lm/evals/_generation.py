"""`GenerationEvaluator`: lets a model write, and measures what it wrote."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from kauldron import evals, metrics
from kauldron._base import root_refs
from kauldron.evals import file_prediction
from kauldron.lm.evals import _text_files
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
        generator = self._generator(state)
        num_texts = len(self.prompts) * self.num_samples
        states: dict[str, metrics.State] = {}
        for start in range(0, num_texts, self.batch_size):
            numbers = range(start, min(start + self.batch_size, num_texts))
            context = self._write(generator, numbers, step)
            self._measure(context, states)
        finals = {name: merged.finalize() for name, merged in states.items()}
        aux = auxiliaries.AuxiliariesState(metric_states=finals)
        self.writer.write_step_metrics(
            step=step, aux=aux, schedules={}, log_summaries=True
        )
        return aux

    def file_interface(self) -> file_prediction.FileInterface:
        """Returns what it reads and writes: texts, and what the model says to them."""
        return _text_files.interface(self.prompts[0], self.prompt_key)

    def file_config(self, cfg: Any) -> Any:
        """Returns the config of the run with no prompts of its own."""
        return _text_files.without_prompts(
            cfg, self.name, self.prompts[0], self.tokenizer
        )

    def predict_files(
        self, states: Sequence[TrainState], request: file_prediction.FileRequest
    ) -> Iterator[file_prediction.FileResult]:
        """Yields the answers to the prompts of each case, then what they measure."""
        (state,) = states
        generator = self._generator(state)
        measured: dict[str, metrics.State] = {}

        def write(elements: Sequence[Mapping[str, Any]]) -> list[str]:
            return self._texts(generator, elements, [self.seed] * len(elements))

        def measure(
            elements: Sequence[Mapping[str, Any]], texts: Sequence[str]
        ) -> dict[str, Any]:
            batch = {name: [e[name] for e in elements] for name in elements[0]}
            batch["sample"] = [0] * len(elements)
            context = Context(step=state.step, batch=batch, preds={"text": texts})
            self._measure(context, measured)
            return {name: x.finalize().compute() for name, x in measured.items()}

        yield from _text_files.predict(
            write, measure, request, batch_size=self.batch_size
        )

    def _generator(self, state: TrainState) -> TextGenerator:
        model, params = causal_lm(self.model, state)
        return TextGenerator(
            model=model,
            params=params,
            tokenizer=self.tokenizer,
            context_length=self.context_length,
        )

    def _texts(
        self,
        generator: TextGenerator,
        elements: Sequence[Mapping[str, Any]],
        seeds: Sequence[int],
    ) -> list[str]:
        return generator(
            [element[self.prompt_key] for element in elements],
            max_tokens=self.max_tokens,
            sampling=self.sampling,
            seeds=seeds,
        )

    def _measure(self, context: Context, states: dict[str, metrics.State]) -> None:
        """Adds what metrics say of a batch to their states."""
        for name, metric in self.metrics.items():
            new = metric.get_state_from_context(context)
            states[name] = states[name].merge(new) if name in states else new

    def _write(self, generator: TextGenerator, numbers: range, step: int) -> Context:
        """Returns texts `numbers`, and the elements that they are of."""
        elements = [dict(self.prompts[i // self.num_samples]) for i in numbers]
        # Of each text its own seed, whatever the batch it is in.
        texts = self._texts(generator, elements, [self.seed + i for i in numbers])
        batch = {name: [e[name] for e in elements] for name in elements[0]}
        batch["sample"] = [i % self.num_samples for i in numbers]
        return Context(step=step, batch=batch, preds={"text": texts})
