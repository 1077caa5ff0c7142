"""Language models: generation against transformers, loading against the gguf package.

make bench

transformers runs in an environment of its own, as nothing of torch is installed here:
`KAULDRON_TORCH_PYTHON` names its Python. Both programs take turns on the same cores.
"""

from __future__ import annotations

import inspect
import os
import subprocess

import gguf
import jax
import pytest

from kauldron import kd
from tests.benchmarks import clocks

pytestmark = pytest.mark.bench

NUM_TOKENS = 128
PROMPT = [1, 4093, 253, 260, 3575, 282, 4649, 47]

# Makes tokens each time a line is written to it; prints the seconds.
_TRANSFORMERS = f"""
{inspect.getsource(clocks)}
import sys, torch, transformers
torch.set_num_threads(2)
model = transformers.AutoModelForCausalLM.from_pretrained(sys.argv[1]).float().eval()
prompt = torch.tensor([{PROMPT}])
for _ in sys.stdin:
    _, secs = measured(
        lambda: model.generate(
            prompt,
            max_new_tokens={NUM_TOKENS},
            min_new_tokens={NUM_TOKENS},
            do_sample=False,
        )
    )
    print(*secs, flush=True)
"""


@pytest.mark.skipif(
    "KAULDRON_TORCH_PYTHON" not in os.environ, reason="no Python with transformers"
)
def test_greedy_generation_of_one_stream_against_transformers(tmp_path, figures):
    folder = kd.lm.convert("smollm2", tmp_path / "smollm2")
    model, params, _ = kd.lm.load(folder)

    def ours():
        kd.lm.generate(model, params, [PROMPT], max_tokens=NUM_TOKENS)

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
        return clocks.Secs(*map(float, other.stdout.readline().split()))

    with other:
        secs = clocks.in_turn({"ours": clocks.timed(ours), "theirs": theirs})
        other.stdin.close()
    rate = NUM_TOKENS / clocks.medians(secs["theirs"]).wall
    figures.ratio(
        f"`lm.generate` of one stream of SmolLM2, {NUM_TOKENS} tokens: speed",
        secs["theirs"],
        secs["ours"],
        against=f"that of transformers ({rate:.2g} tokens/s)",
        budget=1.3,
        is_more_better=True,
    )


def test_loading_from_gguf_against_dequantising_alone(figures):
    path = kd.lm.find("smollm2").path
    reader = gguf.GGUFReader(path)

    def theirs():
        for tensor in reader.tensors:
            gguf.quants.dequantize(tensor.data, tensor.tensor_type)

    def ours():
        published = kd.lm.find(path)
        jax.block_until_ready(published.params(published.model(tokens="batch.tokens")))

    secs = clocks.in_turn({"ours": clocks.timed(ours), "theirs": clocks.timed(theirs)})
    alone = clocks.medians(secs["theirs"]).wall
    figures.ratio(
        "loading SmolLM2 from GGUF",
        secs["ours"],
        secs["theirs"],
        against=f"dequantising all tensors alone by the gguf package ({alone:.2g} s)",
        budget=1.2,
    )
