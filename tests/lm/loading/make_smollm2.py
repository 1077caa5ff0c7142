"""Writes `smollm2.json`: what SmolLM2 says, computed by NumPy in f64.

`python -m tests.lm.loading.make_smollm2 smollm2.gguf` takes minutes. The `gguf` package
reads the file; rotations turn neighbours, as the rows of such files are sorted for. Of
each prompt 64 tokens are made, the most likely ones; of a text, the sum of the negative
log-probabilities of all tokens but the first.
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
    """The model, one call after the other; keys and values are kept."""

    def __init__(self, path: str) -> None:
        tensors = gguf.GGUFReader(path).tensors
        self.weights = {
            t.name: gguf.quants.dequantize(t.data, t.tensor_type).astype(np.float64)
            for t in tensors
        }
        self.reset()

    def reset(self) -> None:
        self.kept = [(np.zeros((0, 3, 64)), np.zeros((0, 3, 64))) for _ in range(30)]

    def __call__(self, tokens: list[int]) -> np.ndarray:
        """Returns the logits after each of these tokens."""
        w = self.weights
        x = w["token_embd.weight"][tokens]
        for i in range(30):
            layer = {
                k[len(f"blk.{i}.") :]: w[k] for k in w if k.startswith(f"blk.{i}.")
            }
            x = x + self._attention(i, layer, _norm(x, layer["attn_norm.weight"]))
            y = _norm(x, layer["ffn_norm.weight"])
            gate = y @ layer["ffn_gate.weight"].T
            gate = gate / (1 + np.exp(-gate))
            up = y @ layer["ffn_up.weight"].T
            x = x + (gate * up) @ layer["ffn_down.weight"].T
        return _norm(x, w["output_norm.weight"]) @ w["token_embd.weight"].T

    def _attention(self, i: int, layer: dict[str, np.ndarray], x: np.ndarray):
        keys, values = self.kept[i]
        start = len(keys)
        positions = np.arange(start, start + len(x))
        query = _turned((x @ layer["attn_q.weight"].T).reshape(-1, 9, 64), positions)
        key = _turned((x @ layer["attn_k.weight"].T).reshape(-1, 3, 64), positions)
        value = (x @ layer["attn_v.weight"].T).reshape(-1, 3, 64)
        keys, values = np.concatenate([keys, key]), np.concatenate([values, value])
        self.kept[i] = keys, values
        scores = np.einsum("tkgh,skh->kgts", query.reshape(-1, 3, 3, 64), keys) / 8
        is_later = np.arange(len(keys))[None] > positions[:, None]
        scores[..., is_later] = -np.inf
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        weights /= weights.sum(-1, keepdims=True)
        mixed = np.einsum("kgts,skh->tkgh", weights, values).reshape(len(x), -1)
        return mixed @ layer["attn_output.weight"].T


def _norm(x: np.ndarray, scale: np.ndarray) -> np.ndarray:
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-5) * scale


def _turned(x: np.ndarray, positions: np.ndarray) -> np.ndarray:
    angles = positions[:, None, None] * 1e5 ** (-np.arange(0, 64, 2) / 64)
    first, second = x[..., 0::2], x[..., 1::2]
    turned = np.empty_like(x)
    turned[..., 0::2] = first * np.cos(angles) - second * np.sin(angles)
    turned[..., 1::2] = second * np.cos(angles) + first * np.sin(angles)
    return turned


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    logits = logits - logits.max(-1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


def main() -> None:
    path = sys.argv[1]
    tokenizer, forward = kd.lm.Tokenizer.from_gguf(path), Forward(path)
    rows = []
    for prompt in PROMPTS:
        forward.reset()
        tokens, least_lead = tokenizer.encode(prompt).tolist(), np.inf
        row = {"prompt": prompt, "prompt_tokens": tokens}
        made: list[int] = []
        for _ in range(NUM_TOKENS):
            logits = forward(tokens)[-1]
            second, best = np.sort(logits)[-2:]
            least_lead = min(least_lead, best - second)
            tokens = [int(logits.argmax())]
            made += tokens
        rows.append(row | {"tokens": made, "least_lead": float(least_lead)})
        print(repr(tokenizer.decode(made)), least_lead)
    forward.reset()
    tokens = tokenizer.encode(TEXT).tolist()
    logprobs = _log_softmax(forward(tokens[:-1]))
    nats = -float(logprobs[np.arange(len(tokens) - 1), tokens[1:]].sum())
    print("perplexity", np.exp(nats / (len(tokens) - 1)), len(tokens))
    content = {"rows": rows, "text": {"num_tokens": len(tokens), "nats": nats}}
    FIXTURE.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
