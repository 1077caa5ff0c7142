"""The iterator of `RolloutPipeline`: which prompts are next, and answers not yet used."""

from __future__ import annotations

import base64
import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from kauldron import data, lm
from kauldron._base import processes, root_refs
from kauldron.rl import _rewards, _rows
from kauldron.rl._drawing import Drawer, Drawn
from kauldron.step import mixed_precision

_STATE_KEYS = {"next_group", "num_prompts", "seed", "pending"}


class RolloutIterator(data.iters.Iterator):
    """Batches of answers, drawn by the state that `follow` tells.

    The position is the number of the next prompt, and the batches that were drawn and
    not handed out.

    Args:
      source: The `RolloutPipeline`.
      seed: Of the order of the prompts, and of the draws.
      may_change_seed: Whether the seed of a saved position replaces it.
    """

    def __init__(self, source: Any, *, seed: int, may_change_seed: bool) -> None:
        super().__init__(source)
        self._seed, self._may_change_seed = seed, may_change_seed
        self._next_group = 0
        self._pending: list[_Batch] = []
        self._get_state: Callable[[], Any] | None = None
        self._drawer: Drawer | None = None

    def follow(self, get_state: Callable[[], Any]) -> bool:
        self._get_state = get_state
        return True

    def __next__(self) -> Any:
        if not self._pending:
            # Guards of the loop are against transfers that nobody wants.
            with jax.transfer_guard("allow"):
                self._pending = self._draw()
        return self._pending.pop(0).arrays

    def get_state(self) -> dict[str, Any]:
        return {
            "next_group": self._next_group,
            "num_prompts": len(self.source.prompts),
            "seed": self._seed,
            "pending": [batch.text for batch in self._pending],
        }

    def set_state(self, state: dict[str, Any]) -> None:
        data.iters.check_state(state, _STATE_KEYS, self.source)
        if state["seed"] != self._seed and not self._may_change_seed:
            raise data.IteratorStateError(
                f"The position was saved with seed={state['seed']}, the pipeline has "
                f"seed={self._seed}: other answers would be drawn. Use the same seed, or "
                "a new workdir."
            )
        if state["num_prompts"] != len(self.source.prompts):
            raise data.IteratorStateError(
                f"The position was saved with {state['num_prompts']} prompts, there are "
                f"{len(self.source.prompts)}: their order is another one. Use the same "
                "prompts, or a new workdir."
            )
        self._seed, self._next_group = state["seed"], state["next_group"]
        spec = self.source.element_spec
        self._pending = [_Batch.of_text(text, spec) for text in state["pending"]]

    def close(self) -> None:
        if self._drawer is not None:
            self._drawer.close()
            self._drawer = None

    def _draw(self) -> list[_Batch]:
        """Returns the batches that are drawn at once."""
        source = self.source
        num_batches = source.sync_every
        if not source.is_endless:
            num_left = len(source) - self._next_group // source.num_groups
            num_batches = min(num_batches, num_left)
        numbers = range(
            self._next_group, self._next_group + num_batches * source.num_groups
        )
        if not numbers:
            raise StopIteration
        groups = self._groups(numbers)
        self._next_group = numbers.stop
        size = source.num_groups
        parts = [groups[i : i + size] for i in range(0, len(groups), size)]
        return [_Batch(self._batch(part)) for part in parts]

    def _groups(self, numbers: range) -> list[_rows.Group]:
        generator = self._generator()
        source = self.source
        elements = [self._element(number) for number in numbers]
        prompts = [self._tokens(generator, element) for element in elements]
        if self._drawer is None:
            size = source.num_groups * source.group_size
            self._drawer = Drawer(
                generator,
                length=source.length,
                max_tokens=source.max_tokens,
                num_slots=source.num_slots,
                max_answers=source.sync_every * size,
                precision=_precision_of(source),
            )
        drawn = self._drawer.draw(
            generator.params,
            prompts,
            [self._seed_of(number) for number in numbers],
            source.group_size,
        )
        answers = [
            self._answer(element, one)
            for element, group in zip(elements, drawn, strict=True)
            for one in group
        ]
        rewards = _rewards.measure(source.rewards, answers)
        sizes = (len(prompts), source.group_size)
        by_group = {name: values.reshape(sizes) for name, values in rewards.items()}
        return [
            _rows.Group(prompt, group, {k: v[i] for k, v in by_group.items()})
            for i, (prompt, group) in enumerate(zip(prompts, drawn, strict=True))
        ]

    def _generator(self) -> lm.TextGenerator:
        """Returns the model as it is now; for one rollout only."""
        if processes.index_and_count()[1] > 1:
            raise data.DataError(
                "RolloutPipeline draws in one process: start the run without others."
            )
        if self._get_state is None:
            raise data.DataError(
                "RolloutPipeline draws with the model that is trained: it is a "
                "`train_ds`. To iterate it by hand, say where the state is: "
                "`batches = iter(ds); batches.follow(lambda: state)`."
            )
        decoder, params = lm.causal_lm(self.source.model, self._get_state())
        return lm.TextGenerator(
            model=decoder,
            params=params,
            tokenizer=self.source.tokenizer,
        )

    def _element(self, number: int) -> Any:
        epoch, index = divmod(number, len(self.source.prompts))
        if self.source.shuffle:
            index = int(_order(self._seed, epoch, len(self.source.prompts))[index])
        return self.source.prompts[index]

    def _seed_of(self, number: int) -> int:
        words = np.random.SeedSequence([self._seed % 2**64, number]).generate_state(1)
        return int(words[0])

    def _tokens(self, generator: lm.TextGenerator, element: Any) -> np.ndarray:
        source = self.source
        tokens = generator.tokens(element[source.prompt_key])
        room = source.length - source.max_tokens
        if not 1 <= len(tokens) <= room:
            raise data.DataError(
                f"A prompt has {len(tokens)} tokens, and a row has room for 1 to {room}: "
                f"length={source.length} less max_tokens={source.max_tokens}. The prompt "
                f"is {element[source.prompt_key]!r}."
            )
        return tokens

    def _answer(self, element: Any, drawn: Drawn) -> _rewards.Answer:
        tokens = drawn.tokens if drawn.is_cut else drawn.tokens[:-1]
        return _rewards.Answer(
            prompt=element[self.source.prompt_key],
            text=self.source.tokenizer.decode(tokens),
            element=element,
            num_tokens=len(drawn.tokens),
            is_cut=drawn.is_cut,
        )

    def _batch(self, groups: list[_rows.Group]) -> dict[str, Any]:
        source = self.source
        if source.kind == "pairs":
            return _rows.batch_of_pairs(groups, source.length)
        return _rows.batch_of_answers(
            groups,
            source.length,
            ddof=source.ddof,
            divides_by_std=source.divides_by_std,
        )


def _precision_of(source: Any) -> Any:
    if isinstance(source.precision, root_refs.RootCfgRef):  # there is no trainer
        return None
    return mixed_precision.as_precision(source.precision)


class _Batch:
    """A batch, and what a checkpoint keeps of it.

    Attributes:
      arrays: The batch.
    """

    def __init__(self, arrays: Any) -> None:
        self.arrays = arrays

    @functools.cached_property
    def text(self) -> list[str]:
        """The bytes of each array."""
        leaves = jax.tree.leaves(self.arrays)
        return [base64.b64encode(leaf.tobytes()).decode() for leaf in leaves]

    @classmethod
    def of_text(cls, text: list[str], spec: Any) -> _Batch:
        specs, structure = jax.tree.flatten(spec)
        leaves = [
            np.frombuffer(base64.b64decode(part), one.dtype).reshape(one.shape)
            for part, one in zip(text, specs, strict=True)
        ]
        return cls(jax.tree.unflatten(structure, leaves))


@functools.lru_cache(maxsize=4)
def _order(seed: int, epoch: int, num_prompts: int) -> np.ndarray:
    """Returns the order of the prompts in an epoch."""
    rng = np.random.default_rng([seed % 2**64, epoch])
    return rng.permutation(num_prompts)
