"""Loading costs no more memory than the largest tensor, besides the parameters."""

from __future__ import annotations

import math
import os
import subprocess
import sys

import ml_dtypes
import numpy as np
import pytest

from kauldron import kd

# Prints the peak of memory that is no file's while a folder is loaded, and what it was.
_PROGRAM = """
import sys, threading, time
from kauldron import kd

def anonymous():
    with open("/proc/self/status") as file:
        line = next(line for line in file if line.startswith("RssAnon"))
    return int(line.split()[1]) * 1024

published = kd.lm.find(sys.argv[1])
model = published.model(tokens="batch.tokens", param_dtype=sys.argv[2])
kd.lm.param_specs(model)  # what JAX itself needs
before, peak, is_over = anonymous(), 0, False

def watch():
    global peak
    while not is_over:
        peak = max(peak, anonymous())
        time.sleep(0.0005)

thread = threading.Thread(target=watch)
thread.start()
params = published.params(model)
is_over = True
thread.join()
print(before, max(peak, anonymous()))
"""


def _made_checkpoint(folder, *, features, num_layers, vocab_size):
    """Writes a folder of bf16 weights, a tensor at a time; returns their sizes."""
    model = kd.nn.decoder(
        "llama",
        vocab_size=vocab_size,
        features=features,
        num_layers=num_layers,
        num_heads=8,
        hidden_features=4 * features,
        tokens="batch.tokens",
        has_tied_head=True,
        param_dtype="bfloat16",
    )
    kd.lm.write_config(folder, model, context_length=64)
    rules = kd.ckpts.pretrained.LAYOUTS["hf_llama"]
    sizes = {
        "model.embed_tokens.weight": (vocab_size, features),
        "model.norm.weight": (features,),
    }
    for i in range(num_layers):
        layer = f"model.layers.{i}"
        for name in ("q_proj", "k_proj", "v_proj", "o_proj"):
            sizes[f"{layer}.self_attn.{name}.weight"] = (features, features)
        for name in ("gate_proj", "up_proj"):
            sizes[f"{layer}.mlp.{name}.weight"] = (4 * features, features)
        sizes[f"{layer}.mlp.down_proj.weight"] = (features, 4 * features)
        for name in ("input_layernorm", "post_attention_layernorm"):
            sizes[f"{layer}.{name}.weight"] = (features,)
    assert all(rules.knows_theirs(name) for name in sizes)
    zeros = np.zeros(1, ml_dtypes.bfloat16)
    kd.ckpts.save_safetensors(
        {name: np.broadcast_to(zeros, shape) for name, shape in sizes.items()},
        folder / "model.safetensors",
    )
    return [math.prod(shape) for shape in sizes.values()]


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
@pytest.mark.parametrize(
    "sizes",
    [
        {"features": 512, "num_layers": 8, "vocab_size": 30_000},
        {"features": 2048, "num_layers": 18, "vocab_size": 50_000},
    ],
    ids=["80MB", "2GB"],
)
def test_loading_needs_the_largest_tensor_besides_the_parameters(
    sizes, dtype, tmp_path
):
    numbers = _made_checkpoint(tmp_path, **sizes)
    environment = dict(os.environ, XLA_FLAGS="", JAX_PLATFORMS="cpu")
    result = subprocess.run(
        [sys.executable, "-c", _PROGRAM, str(tmp_path), dtype],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    before, peak = map(int, result.stdout.split())
    itemsize = {"bfloat16": 2, "float32": 4}[dtype]
    params, largest = sum(numbers) * itemsize, max(numbers) * itemsize
    # 20 MB are threads, the header, and what the allocator keeps.
    assert peak - before <= params + 1.1 * largest + 20e6
