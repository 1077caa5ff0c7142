"""Language models: generation against transformers, loading against the gguf package.

make bench

transformers runs in an environment of its own, as nothing of torch is installed here:
`KAULDRON_TORCH_PYTHON` names its Python. Both programs take turns on the same cores.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import time

import gguf
import jax
import numpy as np
import pytest

from kauldron import kd
from tests.benchmarks import clocks

pytestmark = pytest.mark.bench

NUM_ROUNDS, NUM_TOKENS, NUM_LOADS = 3, 128, 9
PROMPT = [1, 4093, 253, 260, 3575, 282, 4649, 47]

# Makes tokens each time a line is written to it; prints the seconds.
_TRANSFORMERS = f"""
import sys, time, torch, transformers
torch.set_num_threads(2)
model = transformers.AutoModelForCausalLM.from_pretrained(sys.argv[1]).float().eval()
prompt = torch.tensor([{PROMPT}])
for _ in sys.stdin:
    start = time.perf_counter()
    model.generate(
        prompt,
        max_new_tokens={NUM_TOKENS},
        min_new_tokens={NUM_TOKENS},
        do_sample=False,
    )
    print(time.perf_counter() - start, flush=True)
"""


@pytest.mark.skipif(
    "KAULDRON_TORCH_PYTHON" not in os.environ, reason="no Python with transformers"
)
def test_greedy_generation_of_one_stream_against_transformers(tmp_path):
    folder = kd.lm.convert("smollm2", tmp_path / "smollm2")
    model, params, _ = kd.lm.load(folder)

    def ours():
        start = time.perf_counter()
        kd.lm.generate(model, params, [PROMPT], max_tokens=NUM_TOKENS)
        return time.perf_counter() - start

    other = subprocess.Popen(
        [os.environ["KAULDRON_TORCH_PYTHON"], "-c", _TRANSFORMERS, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert other.stdin is not None
    assert other.stdout is not None

    def theirs():
        print(file=other.stdin, flush=True)
        return float(other.stdout.readline())

    with other:
        ours(), theirs()
        pairs = [(theirs(), ours()) for _ in range(NUM_ROUNDS)]
        other.stdin.close()
    ratio = statistics.median(a / b for a, b in pairs)
    theirs_rate = NUM_TOKENS / min(a for a, _ in pairs)
    ours_rate = NUM_TOKENS / min(b for _, b in pairs)
    print(
        f"\n{NUM_TOKENS} tokens, one stream: {ours_rate:.1f} tokens/s, transformers "
        f"{theirs_rate:.1f}; ratio {ratio:.2f} (target 1.3)"
    )
    assert ratio >= 1.3


def test_loading_from_gguf_against_dequantising_alone():
    path = kd.lm.find("smollm2").path
    reader = gguf.GGUFReader(path)

    def theirs():
        for tensor in reader.tensors:
            gguf.quants.dequantize(tensor.data, tensor.tensor_type)

    def ours():
        published = kd.lm.find(path)
        jax.block_until_ready(published.params(published.model(tokens="batch.tokens")))

    def secs(load):
        return clocks.measured(load)[1]

    secs(theirs), secs(ours)
    pairs = np.array([(secs(theirs), secs(ours)) for _ in range(NUM_LOADS)])
    ratios = pairs[:, 1] / pairs[:, 0]
    (wall, processor), best = np.median(ratios, axis=0), pairs.min(axis=0)
    print(
        f"\nSmolLM2 from GGUF: {best[1, 0]:.2f} s (of processors {best[1, 1]:.2f} s), "
        f"dequantising alone {best[0, 0]:.2f} s ({best[0, 1]:.2f} s); ratio {wall:.2f} "
        f"({ratios[:, 0].min():.2f} to {ratios[:, 0].max():.2f} over single pairs), of "
        f"processor time {processor:.2f} (target 1.2)"
    )
    assert wall <= 1.2
