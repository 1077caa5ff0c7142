"""Writes `smollm2.json`: what SmolLM2 says, computed by NumPy in f64.

`python -m tests.lm.loading.make_smollm2 smollm2.gguf`. The `gguf` package reads the file;
rotations turn neighbours, as the rows of such files are sorted for. Of each prompt 64
tokens are made, the most likely ones; of a text, the sum of the negative log-probabilities
of all tokens but the first.

Many tokens at once cost NumPy hardly more than one. So what they may be is asked of
`kd.lm.generate`, and of these, those are taken that are the most likely ones here, too;
behind them, NumPy's own.
"""

from __future__ import annotations

import json
import pathlib
import sys

import gguf
import numpy as np

from kauldron import kd

FIXTURE = pathlib.Path(__file__).with_name("smollm2.json")
NUM_TOKENS = 64
PROMPTS = (
    "Once upon a time there was",
    "The three primary colours are",
    "Water boils at 100 degrees because",
    "def fibonacci(n):\n",
    "Dear Sir, I am writing to you",
)
# Shakespeare, Sonnets 18 and 116.
TEXT = """Shall I compare thee to a summer's day?
Thou art more lovely and more temperate:
Rough winds do shake the darling buds of May,
And summer's lease hath all too short a date;
Sometime too hot the eye of heaven shines,
And often is his gold complexion dimm'd;
And every fair from fair sometime declines,
By chance or nature's changing course untrimm'd;
But thy eternal summer shall not fade,
Nor lose possession of that fair thou ow'st;
Nor shall death brag thou wander'st in his shade,
When in eternal lines to time thou grow'st:
So long as men can breathe or eyes can see,
So long lives this, and this gives life to thee.

Let me not to the marriage of true minds
Admit impediments. Love is not love
Which alters when it alteration finds,
Or bends with the remover to remove:
O no! it is an ever-fixed mark
That looks on tempests and is never shaken;
It is the star to every wandering bark,
Whose worth's unknown, although his height be taken.
"""


class Forward:
    """The model: logits after each token of a row."""

    def __init__(self, path: str) -> None:
        self._tensors = {t.name: t for t in gguf.GGUFReader(path).tensors}

    def __call__(self, tokens: list[int]) -> np.ndarray:
        """Returns the logits after each of these tokens."""
        x = self._weight("token_embd.weight")[tokens]
        for i in range(30):
            y = _norm(x, self._weight(f"blk.{i}.attn_norm.weight"))
            x = x + self._attention(f"blk.{i}.attn", y)
            y = _norm(x, self._weight(f"blk.{i}.ffn_norm.weight"))
            gate = y @ self._weight(f"blk.{i}.ffn_gate.weight").T
            gate = gate / (1 + np.exp(-gate))
            up = y @ self._weight(f"blk.{i}.ffn_up.weight").T
            x = x + (gate * up) @ self._weight(f"blk.{i}.ffn_down.weight").T
        x = _norm(x, self._weight("output_norm.weight"))
        return x @ self._weight("token_embd.weight").T

    def _weight(self, name: str) -> np.ndarray:
        tensor = self._tensors[name]
        weight = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        return weight.astype(np.float64)

    def _attention(self, name: str, x: np.ndarray) -> np.ndarray:
        query, key, value = (
            (x @ self._weight(f"{name}_{part}.weight").T).reshape(len(x), -1, 64)
            for part in "qkv"
        )
        query, key = _turned(query), _turned(key)
        scores = np.einsum("tkgh,skh->kgts", query.reshape(-1, 3, 3, 64), key) / 8
        scores[..., np.triu(np.ones((len(x), len(x)), bool), 1)] = -np.inf
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        weights /= weights.sum(-1, keepdims=True)
        mixed = np.einsum("kgts,skh->tkgh", weights, value).reshape(len(x), -1)
        return mixed @ self._weight(f"{name}_output.weight").T


def _norm(x: np.ndarray, scale: np.ndarray) -> np.ndarray:
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-5) * scale


def _turned(x: np.ndarray) -> np.ndarray:
    angles = np.arange(len(x))[:, None, None] * 1e5 ** (-np.arange(0, 64, 2) / 64)
    first, second = x[..., 0::2], x[..., 1::2]
    turned = np.empty_like(x)
    turned[..., 0::2] = first * np.cos(angles) - second * np.sin(angles)
    turned[..., 1::2] = second * np.cos(angles) + first * np.sin(angles)
    return turned


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    logits = logits - logits.max(-1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


def _most_likely(forward: Forward, draft, prompt: list[int]) -> tuple[list[int], float]:
    """Returns the most likely tokens, and the least lead of one before the second."""
    tokens, leads = list(prompt), []
    while len(leads) < NUM_TOKENS:
        drafted = draft(tokens, NUM_TOKENS - len(leads))
        logits = forward(tokens + drafted)[len(tokens) - 1 :]
        for row, token in zip(logits, [*drafted, None], strict=True):
            if len(leads) == NUM_TOKENS:
                break
            second, best = np.partition(row, -2)[-2:]
            leads.append(best - second)
            tokens.append(int(row.argmax()))
            if tokens[-1] != token:
                break
    return tokens[len(prompt) :], float(min(leads))


def main() -> None:
    path = sys.argv[1]
    model, params, tokenizer = kd.lm.load(path)
    forward = Forward(path)

    def draft(tokens: list[int], number: int) -> list[int]:
        (row,) = kd.lm.generate(model, params, [tokens], max_tokens=number)
        return row.tokens.tolist()

    rows = []
    for prompt in PROMPTS:
        tokens = tokenizer.encode(prompt).tolist()
        made, least_lead = _most_likely(forward, draft, tokens)
        row = {"prompt": prompt, "prompt_tokens": tokens, "tokens": made}
        rows.append(row | {"least_lead": least_lead})
        print(repr(tokenizer.decode(made)), least_lead, flush=True)
    tokens = tokenizer.encode(TEXT).tolist()
    logprobs = _log_softmax(forward(tokens[:-1]))
    nats = -float(logprobs[np.arange(len(tokens) - 1), tokens[1:]].sum())
    print("perplexity", np.exp(nats / (len(tokens) - 1)), len(tokens))
    content = {"rows": rows, "text": {"num_tokens": len(tokens), "nats": nats}}
    FIXTURE.write_text(json.dumps(content) + "\n")


if __name__ == "__main__":
    main()
