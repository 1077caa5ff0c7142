"""Rows of a batch: prompts and answers as arrays, with what the losses need of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from kauldron import lm
from kauldron.rl._drawing import Drawn
from kauldron.rl._rewards import TOTAL
from kauldron.workdir import array_spec

_INTS = ("tokens", "targets", "positions", "segment_ids")
_FLOATS = ("loss_mask", "old_logps")


class Group(NamedTuple):
    """The answers to a prompt.

    Attributes:
      prompt: Its tokens.
      answers: What was drawn.
      rewards: Name to `f32[group]`.
    """

    prompt: np.ndarray
    answers: Sequence[Drawn]
    rewards: dict[str, np.ndarray]


def row_specs(
    shape: tuple[int, int], rewards: Sequence[str], *, group_size: int, has_pairs: bool
) -> dict[str, Any]:
    """Returns the specs of a batch, see `batch_of_answers` and `batch_of_pairs`.

    Args:
      shape: Rows and tokens of a row.
      rewards: Their names.
      group_size: Answers to a prompt.
      has_pairs: Whether the rows are pairs.
    """

    def f32(*shape: int) -> Any:
        return array_spec.ArraySpec(shape=shape, dtype=np.dtype(np.float32))

    i32 = array_spec.ArraySpec(shape=shape, dtype=np.dtype(np.int32))
    row = dict.fromkeys(_INTS, i32) | {name: f32(*shape) for name in _FLOATS}
    one = f32(shape[0], group_size) if has_pairs else f32(shape[0])
    measured = {
        "rewards": dict.fromkeys((*rewards, TOTAL), one),
        "num_tokens": one,
        "is_cut": one,
    }
    if has_pairs:
        return {"chosen": row, "rejected": row, "pair_mask": f32(shape[0]), **measured}
    return {**row, "advantages": f32(*shape), **measured}


def batch_of_answers(
    groups: Sequence[Group], length: int, *, ddof: Any, divides_by_std: bool
) -> dict[str, Any]:
    """Returns a row for each answer, and its advantage over the others of its group.

    Args:
      groups: Of one size.
      length: Tokens of a row.
      ddof: See `kd.lm.group_advantages`.
      divides_by_std: See there.
    """
    batch = _stacked([_row(g.prompt, one, length) for g in groups for one in g.answers])
    totals = np.stack([group.rewards[TOTAL] for group in groups])
    advantages = lm.group_advantages(totals, ddof=ddof, divides_by_std=divides_by_std)
    of_rows = np.asarray(advantages, np.float32).reshape(-1, 1)
    measured = _measured(groups)
    flat = {
        "rewards": {k: v.reshape(-1) for k, v in measured["rewards"].items()},
        "num_tokens": measured["num_tokens"].reshape(-1),
        "is_cut": measured["is_cut"].reshape(-1),
    }
    return {**batch, "advantages": of_rows * batch["loss_mask"], **flat}


def batch_of_pairs(groups: Sequence[Group], length: int) -> dict[str, Any]:
    """Returns the best and the worst answer of each group.

    `pair_mask` is 0 where all answers are equally good, so that nothing is preferred.

    Args:
      groups: Of one size.
      length: Tokens of a row.
    """
    sides: dict[str, list[dict[str, np.ndarray]]] = {"chosen": [], "rejected": []}
    for group in groups:
        totals = group.rewards[TOTAL]
        for name, find in (("chosen", np.argmax), ("rejected", np.argmin)):
            answer = group.answers[int(find(totals))]
            sides[name].append(_row(group.prompt, answer, length))
    is_better = [np.ptp(group.rewards[TOTAL]) > 0 for group in groups]
    return {
        **{name: _stacked(rows) for name, rows in sides.items()},
        "pair_mask": np.array(is_better, np.float32),
        **_measured(groups),
    }


def _measured(groups: Sequence[Group]) -> dict[str, Any]:
    """Returns what is known of each answer, `f32[groups group_size]`."""
    return {
        "rewards": {
            name: np.stack([group.rewards[name] for group in groups])
            for name in groups[0].rewards
        },
        "num_tokens": np.array(
            [[len(one.tokens) for one in group.answers] for group in groups], np.float32
        ),
        "is_cut": np.array(
            [[one.is_cut for one in group.answers] for group in groups], np.float32
        ),
    }


def _row(prompt: np.ndarray, answer: Drawn, length: int) -> dict[str, np.ndarray]:
    """Returns a row of prompt and answer, of which the answer is learnt."""
    start, end = len(prompt), len(prompt) + len(answer.tokens)
    row = {name: np.zeros(length, np.int32) for name in _INTS}
    row |= {name: np.zeros(length, np.float32) for name in _FLOATS}
    row["tokens"][:start] = prompt
    row["tokens"][start:end] = answer.tokens
    row["targets"][: end - 1] = row["tokens"][1:end]
    row["positions"][:end] = np.arange(end)
    row["segment_ids"][:end] = 1
    # A token is predicted from the place before it.
    row["loss_mask"][start - 1 : end - 1] = 1
    row["old_logps"][start - 1 : end - 1] = answer.logprobs
    return row


def _stacked(rows: Sequence[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}
