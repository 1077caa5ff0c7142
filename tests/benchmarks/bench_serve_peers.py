"""Serving SmolLM2 against llama.cpp and transformers, 16 streams of mixed lengths.

make bench

Each peer runs in an environment of its own: `KAULDRON_LLAMA_PYTHON` names a Python with
llama-cpp-python, built from its source package for this machine, `KAULDRON_TORCH_PYTHON` one
with transformers. All take turns on the same cores. llama.cpp decodes all streams in one
batch, as its server does with as many slots (that of llama-cpp-python answers one request at
a time); transformers answers one request after the other, and so fewer of them.
"""

from __future__ import annotations

import inspect
import os
import subprocess

import gguf
import numpy as np
import pytest

from kauldron import kd
from tests.benchmarks import clocks

pytestmark = [pytest.mark.bench, pytest.mark.timeout(3600)]

_NUM_ROUNDS, _NUM_STREAMS, _MAX_TOKENS, _VOCABULARY = 3, 16, 32, 49152
_LENGTHS = (48, 16, 64, 32) * (_NUM_STREAMS // 4)
_THREADS = (2, 1)  # of transformers
_NUM_ALONE = 2  # requests to transformers
# Kinds of weights of llama.cpp, and its threads. What waits for another thread is busy all
# the while: only that with one thread tells what processors have to do.
_PEERS = (("F32", 2), ("F16", 2), ("F16", 1), ("Q8_0", 2), ("Q4_0", 2))

_PEER = f"""
import sys
{inspect.getsource(clocks)}
import numpy as np

LENGTHS, MAX_TOKENS = {_LENGTHS}, {_MAX_TOKENS}

def prompts(seed):
    rng = np.random.default_rng(seed)
    return [rng.integers(3, {_VOCABULARY}, n).tolist() for n in LENGTHS]

def serve(answer):
    answer(prompts(0)[:1])
    print("ready", flush=True)
    for line in sys.stdin:
        num_tokens, secs = measured(lambda: answer(prompts(int(line))))
        print(num_tokens, *secs, flush=True)
"""

_LLAMA = """
import ctypes, llama_cpp as C

C.llama_backend_init()
silent = C.llama_log_callback(lambda level, text, data: None)
C.llama_log_set(silent, ctypes.c_void_p(0))
options = C.llama_model_default_params()
model = C.llama_model_load_from_file(sys.argv[1].encode(), options)
options = C.llama_context_default_params()
options.n_ctx, options.n_batch, options.n_ubatch = 16 * 256, 512, 512
options.n_seq_max = 16
options.n_threads = options.n_threads_batch = int(sys.argv[2])
options.kv_unified = False
context = C.llama_init_from_model(model, options)
vocabulary = C.llama_vocab_n_tokens(C.llama_model_get_vocab(model))
batch = C.llama_batch_init(512, 0, 1)

def decode(entries):
    batch.n_tokens = len(entries)
    for i, (row, token, position, wanted) in enumerate(entries):
        batch.token[i], batch.pos[i], batch.logits[i] = token, position, wanted
        batch.n_seq_id[i], batch.seq_id[i][0] = 1, row
    assert C.llama_decode(context, batch) == 0
    chosen = {}
    for i, (row, _, _, wanted) in enumerate(entries):
        if wanted:
            logits = C.llama_get_logits_ith(context, i)
            chosen[row] = int(np.ctypeslib.as_array(logits, (vocabulary,)).argmax())
    return chosen

def answer(prompts):
    C.llama_memory_clear(C.llama_get_memory(context), True)
    entries = [
        (row, token, position, position == len(prompt) - 1)
        for row, prompt in enumerate(prompts)
        for position, token in enumerate(prompt)
    ]
    last = {}
    for start in range(0, len(entries), 512):
        last |= decode(entries[start : start + 512])
    for step in range(MAX_TOKENS - 1):
        last = decode(
            [(r, token, len(prompts[r]) + step, True) for r, token in last.items()]
        )
    return MAX_TOKENS * len(prompts)

serve(answer)
"""

_TRANSFORMERS = f"""
import torch, transformers

torch.set_num_threads(int(sys.argv[2]))
model = transformers.AutoModelForCausalLM.from_pretrained(sys.argv[1]).float().eval()

def answer(prompts):
    for prompt in prompts[:{_NUM_ALONE}]:
        model.generate(
            torch.tensor([prompt]),
            max_new_tokens=MAX_TOKENS,
            min_new_tokens=MAX_TOKENS,
            do_sample=False,
        )
    return {_NUM_ALONE} * MAX_TOKENS

serve(answer)
"""


class _Peer:
    """A program that answers all prompts each time it is asked."""

    def __init__(self, python, code, *options):
        self._process = subprocess.Popen(
            [python, "-c", _PEER + code, *map(str, options)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout.readline() == "ready\n"

    def rates(self, seed):
        """Returns tokens per second, and per second of processors."""
        print(seed, file=self._process.stdin, flush=True)
        number, *secs = map(float, self._process.stdout.readline().split())
        return [number / one for one in secs]

    def close(self):
        self._process.stdin.close()
        self._process.wait()


class _Ours:
    """The engine, asked the same."""

    def __init__(self):
        self._engine = kd.serve.Engine(
            "smollm2", context_length=256, decode_widths=(), warm_up=False
        )
        self._engine.generate(["a", "a" * 64], max_tokens=2)  # compiles

    def rates(self, seed):
        rng = np.random.default_rng(seed)
        prompts = [rng.integers(3, _VOCABULARY, n).tolist() for n in _LENGTHS]
        requests = [
            kd.serve.Request(
                prompt=tuple(prompt),
                sampling=kd.serve.SamplingParams(
                    max_tokens=_MAX_TOKENS, temperature=0.0, ignore_eos=True
                ),
            )
            for prompt in prompts
        ]
        _, secs = clocks.measured(lambda: self._engine.answer(requests))
        return [_NUM_STREAMS * _MAX_TOKENS / one for one in secs]

    def close(self):
        self._engine.shutdown()


def _converted(name, path):
    """Writes SmolLM2 with its matrices as numbers of another kind."""
    kind = gguf.GGMLQuantizationType[name]
    reader = gguf.GGUFReader(kd.lm.find("smollm2").path)
    writer = gguf.GGUFWriter(path, "llama")
    for field in reader.fields.values():
        if field.name.startswith("GGUF.") or field.name == "general.architecture":
            continue
        sub_type = field.types[-1] if len(field.types) > 1 else None
        writer.add_key_value(field.name, field.contents(), field.types[0], sub_type)
    for tensor in reader.tensors:
        numbers = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        of_this = kind if numbers.ndim > 1 else gguf.GGMLQuantizationType.F32
        content = gguf.quants.quantize(numbers, of_this)
        writer.add_tensor(tensor.name, content, raw_dtype=of_this)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _compare(peers):
    """Returns tokens per second, and by processor time: `[rounds, 2]` of each."""
    try:
        rounds = [
            {name: peer.rates(seed) for name, peer in peers.items()}
            for seed in range(1, _NUM_ROUNDS + 1)
        ]
    finally:
        for peer in peers.values():
            peer.close()
    return {name: np.array([one[name] for one in rounds]) for name in peers}


def _told(name, rates, ours):
    """Prints a line of a comparison; returns the ratio."""
    ratios = ours / rates
    wall, processor = np.median(ratios, axis=0)
    print(
        f"{name}: {np.median(rates[:, 0]):.1f} tokens/s ({np.median(rates[:, 1]):.1f} a "
        f"second of processors); ours {wall:.2f} x ({ratios[:, 0].min():.2f} to "
        f"{ratios[:, 0].max():.2f} over rounds), by processor time {processor:.2f} x"
    )
    return wall


@pytest.mark.skipif(
    "KAULDRON_LLAMA_PYTHON" not in os.environ, reason="no Python with llama-cpp-python"
)
def test_sixteen_streams_against_llama_cpp(tmp_path):
    python = os.environ["KAULDRON_LLAMA_PYTHON"]
    kinds = {kind: _converted(kind, tmp_path / kind) for kind, _ in _PEERS}
    peers = {"ours": _Ours()} | {
        f"{kind} with {threads} threads": _Peer(python, _LLAMA, kinds[kind], threads)
        for kind, threads in _PEERS
    }
    found = _compare(peers)
    ours = found.pop("ours")
    print(f"\nours, 16 streams: {np.median(ours, axis=0).round(1)} tokens/s")
    ratios = [_told(f"llama.cpp, {x}", rates, ours) for x, rates in found.items()]
    assert min(ratios[:2]) >= 1


@pytest.mark.skipif(
    "KAULDRON_TORCH_PYTHON" not in os.environ, reason="no Python with transformers"
)
def test_sixteen_streams_against_transformers_one_after_the_other(tmp_path):
    folder = kd.lm.convert("smollm2", tmp_path / "smollm2")
    python = os.environ["KAULDRON_TORCH_PYTHON"]
    peers = {"ours": _Ours()} | {
        f"{threads} threads": _Peer(python, _TRANSFORMERS, folder, threads)
        for threads in _THREADS
    }
    found = _compare(peers)
    ours = found.pop("ours")
    ratios = [_told(f"transformers, {x}", rates, ours) for x, rates in found.items()]
    assert min(ratios) >= 5
