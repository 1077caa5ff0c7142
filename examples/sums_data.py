"""Questions for sums of two numbers, as messages, with the answer that is expected."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np


def questions(split: str) -> list[dict[str, Any]]:
    """Returns `{"prompt": messages, "answer": equation}` of numbers from 1 to 20.

    Args:
      split: `'train'`, or `'test'` for 32 that are not in there.
    """
    pairs = list(itertools.product(range(1, 21), repeat=2))
    order = np.random.default_rng(0).permutation(len(pairs))
    chosen = order[32:] if split == "train" else order[:32]
    return [_question(*pairs[i]) for i in chosen]


def _question(a: int, b: int) -> dict[str, Any]:
    question = f"{a} + {b} = ? Answer in one line."
    return {
        "prompt": [{"role": "user", "content": question}],
        "answer": f"{a} + {b} = {a + b}",
    }
