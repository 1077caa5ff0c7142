"""Conversations for chat models: training, held-out answers, and preference pairs."""

from __future__ import annotations

import dataclasses
import functools
import json
import pathlib
from typing import Any

import numpy as np

from kauldron import kd


@functools.cache
def dialogs(split: str, folder: str | None = None) -> tuple[tuple[str, ...], ...]:
    """Returns the turns of each conversation; every tenth is held out.

    Args:
      split: `'train'` or `'test'`.
      folder: With `dialogs.jsonl`; by default what `kauldron data fetch dialogs` gets.
    """
    root = pathlib.Path(folder) if folder else kd.data.fetch("dialogs")
    lines = (root / "dialogs.jsonl").read_text(encoding="utf-8").splitlines()
    # The same question may have several answers: all of them are in one split.
    asked: dict[str, list[tuple[str, ...]]] = {}
    for line in lines:
        turns = tuple(json.loads(line)["turns"])
        if len(turns) >= 2:
            asked.setdefault(turns[0], []).append(turns)
    is_test = split == "test"
    found = [d for i, d in enumerate(asked.values()) if (i % 10 == 0) == is_test]
    return tuple(turns for group in found for turns in group)


def as_messages(turns: tuple[str, ...]) -> list[dict[str, str]]:
    """Returns turns as messages of a user and an assistant in alternation."""
    roles = ("user", "assistant")
    even = turns[: len(turns) // 2 * 2]
    return [{"role": roles[i % 2], "content": text} for i, text in enumerate(even)]


def decoder(name: str) -> kd.nn.CausalLM:
    """Returns a published model, to be filled with `weights`."""
    return kd.lm.find(name).model(
        tokens="batch.tokens",
        positions="batch.positions",
        segment_ids="batch.segment_ids",
    )


def weights(name: str) -> kd.lm.BaseWeights:
    """Returns what fills the frozen weights of a `LoRA` of `decoder(name)`."""
    return kd.lm.BaseWeights(kd.lm.PublishedWeights(name))


@functools.cache
def tokenizer(name: str) -> kd.lm.Tokenizer:
    """Returns the tokenizer of a published model, with its chat template."""
    return kd.lm.find(name).tokenizer()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Dialogs:
    """Conversations: `{"messages": [{"role": ..., "content": ...}, ...]}`.

    Attributes:
      split: `'train'` or `'test'`.
      folder: As for `dialogs`.
    """

    split: str
    folder: str | None = None

    def __len__(self) -> int:
        return len(dialogs(self.split, self.folder))

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"messages": as_messages(dialogs(self.split, self.folder)[index])}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rows:
    """Packed rows of conversations, of which the assistant's turns are learnt.

    Attributes:
      split: `'train'` or `'test'`.
      length: Tokens of a row; longer conversations lose their end.
      tokenizer: With a chat template.
      folder: As for `dialogs`.
    """

    split: str
    length: int
    tokenizer: kd.lm.Tokenizer
    folder: str | None = None

    @functools.cached_property
    def _rows(self) -> list[Any]:
        to_tokens = kd.lm.ChatToTokens(tokenizer=self.tokenizer)
        source = Dialogs(split=self.split, folder=self.folder)
        documents = [to_tokens.map(source[i]) for i in range(len(source))]
        # What does not fit into a row has no answer to learn in its later pieces.
        fitting = [d for d in documents if d["loss_mask"][: self.length].any()]
        pack = kd.lm.Pack(length=self.length, too_long="keep_start")
        rows = pack.map_chunk(fitting)
        return [{k: v for k, v in r.items() if k != "num_truncated"} for r in rows]

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Any:
        return self._rows[index]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Preferences:
    """Pairs of answers: the one that was given, and the same in capital letters.

    An element is `{"prompt": str, "chosen": str, "rejected": str}`. Which style is
    preferred is made up; that it is one style, for all questions, is what a model can learn
    from few pairs and show on questions that it has not seen.

    Attributes:
      split: `'train'` or `'test'`.
      folder: As for `dialogs`.
      num_pairs: The most pairs.
      max_characters: Of question and answer together.
    """

    split: str
    folder: str | None = None
    num_pairs: int = 400
    max_characters: int = 120

    @functools.cached_property
    def _pairs(self) -> list[dict[str, str]]:
        pairs = [
            {"prompt": turns[0], "chosen": turns[1], "rejected": turns[1].upper()}
            for turns in dialogs(self.split, self.folder)
            if turns[1] != turns[1].upper()
            and len(turns[0]) + len(turns[1]) <= self.max_characters
        ]
        order = np.random.default_rng(0).permutation(len(pairs))
        return [pairs[i] for i in order[: self.num_pairs]]

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitem__(self, index: int) -> dict[str, str]:
        return self._pairs[index]
