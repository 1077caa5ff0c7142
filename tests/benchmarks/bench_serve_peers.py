"""Serving SmolLM2 against llama.cpp and transformers.

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
_ALONE = (8,)  # tokens of the only prompt
_TOKENS_ALONE = 64
_NUM_ONE_AFTER_THE_OTHER = 2  # requests to transformers, of 16
# Kinds of weights of llama.cpp, and of ours that is as exact. What waits for another thread is
# busy all the while: only that with one thread tells what processors have to do.
_KINDS = {"F32": "float32", "F16": "bfloat16", "Q8_0": "int8", "Q4_0": "int8"}
_THREADS = (2, 1)

_PEER = f"""
import sys
{inspect.getsource(clocks)}
import numpy as np

MAX_TOKENS = int(sys.argv[3])

def prompts(seed):
    rng = np.random.default_rng(seed)
    return [rng.integers(3, {_VOCABULARY}, n).tolist() for n in map(int, sys.argv[4:])]

def serve(answer):
    answer(prompts(0)[:1])
    print("ready", flush=True)
    for line in sys.stdin:
        num_tokens, secs = measured(lambda: answer(prompts(int(line))))
        print(*secs.per(num_tokens), flush=True)
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

_TRANSFORMERS = """
import torch, transformers

torch.set_num_threads(int(sys.argv[2]))
model = transformers.AutoModelForCausalLM.from_pretrained(sys.argv[1]).float().eval()

def answer(prompts):
    for prompt in prompts:
        model.generate(
            torch.tensor([prompt]),
            max_new_tokens=MAX_TOKENS,
            min_new_tokens=MAX_TOKENS,
            do_sample=False,
        )
    return MAX_TOKENS * len(prompts)

serve(answer)
"""


class _Peer:
    """A program that answers prompts each time it is asked.

    Args:
      python: With what it needs.
      code: Defines `answer`.
      weights: A file or a folder.
      threads: How many.
      lengths: Tokens of each prompt.
      max_tokens: Of each answer.
    """

    def __init__(self, python, code, weights, threads, lengths, max_tokens):
        options = map(str, (weights, threads, max_tokens, *lengths))
        self._process = subprocess.Popen(
            [python, "-c", _PEER + code, *options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout.readline() == "ready\n"

    def secs(self, seed):
        """Returns the seconds of a token."""
        print(seed, file=self._process.stdin, flush=True)
        return clocks.Secs(*map(float, self._process.stdout.readline().split()))

    def close(self):
        self._process.stdin.close()
        self._process.wait()


class _Ours:
    """The engine, asked the same."""

    def __init__(self, lengths, max_tokens, weights_dtype=None):
        self._engine = kd.serve.Engine(
            "smollm2",
            context_length=256,
            decode_widths=(1,),
            weights_dtype=weights_dtype,
            warm_up=False,
        )
        self._lengths, self._max_tokens = lengths, max_tokens
        self.secs(0)  # compiles

    def secs(self, seed):
        """Returns the seconds of a token."""
        rng = np.random.default_rng(seed)
        prompts = [rng.integers(3, _VOCABULARY, n).tolist() for n in self._lengths]
        sampling = kd.serve.SamplingParams(
            max_tokens=self._max_tokens, temperature=0.0, ignore_eos=True
        )
        requests = [
            kd.serve.Request(prompt=tuple(prompt), sampling=sampling)
            for prompt in prompts
        ]
        _, secs = clocks.measured(lambda: self._engine.answer(requests))
        return secs.per(len(prompts) * self._max_tokens)

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


def _compare(programs):
    """Returns the seconds of a token of each program in each round."""
    seeds = iter(range(1, 1000))

    def asked(program):
        # Prompts that nobody has seen.
        return lambda: program.secs(next(seeds))

    try:
        return clocks.in_turn(
            {name: asked(program) for name, program in programs.items()},
            num_rounds=_NUM_ROUNDS,
        )
    finally:
        for program in programs.values():
            program.close()


def _record(figures, what, ours, theirs, peer, budget=None):
    """Records tokens per second, and how many times as many as those of a peer."""
    rates = clocks.spread(1 / secs.wall for secs in theirs)
    by_processor = clocks.spread(1 / secs.processor for secs in theirs)
    return figures.ratio(
        f"{what}, against {peer}: speed",
        theirs,
        ours,
        against=(
            f"its speed ({rates.median:.0f} tokens/s, {by_processor.median:.0f} a second "
            "of processors)"
        ),
        budget=budget,
        is_more_better=True,
    )


def _record_rate(figures, what, secs):
    figures.number(
        what,
        [1 / x.wall for x in secs],
        "tokens/s",
        processor=clocks.spread(1 / x.processor for x in secs).median,
    )


@pytest.mark.skipif(
    "KAULDRON_LLAMA_PYTHON" not in os.environ, reason="no Python with llama-cpp-python"
)
def test_sixteen_streams_against_llama_cpp(tmp_path, figures):
    python = os.environ["KAULDRON_LLAMA_PYTHON"]
    kinds = {kind: _converted(kind, tmp_path / kind) for kind in _KINDS}
    asked = _LENGTHS, _MAX_TOKENS
    ours = dict.fromkeys(("float32", *_KINDS.values()))
    programs = {
        dtype: _Ours(*asked, None if dtype == "float32" else dtype) for dtype in ours
    } | {
        (kind, threads): _Peer(python, _LLAMA, kinds[kind], threads, *asked)
        for kind in _KINDS
        for threads in _THREADS
    }
    found = _compare(programs)
    for dtype in ours:
        _record_rate(figures, f"serving, 16 streams, weights in {dtype}", found[dtype])
    for kind, like in _KINDS.items():
        for dtype in ("float32", like) if kind == "F16" else (like,):
            for threads in _THREADS:
                _record(
                    figures,
                    f"serving, 16 streams, weights in {dtype}",
                    found[dtype],
                    found[kind, threads],
                    f"llama.cpp with {kind} on {_told(threads)}",
                    budget=1.0 if kind in ("F32", "F16") else None,
                )


@pytest.mark.skipif(
    "KAULDRON_TORCH_PYTHON" not in os.environ, reason="no Python with transformers"
)
@pytest.mark.parametrize(
    ("streams", "budget"), [(1, 1.3), (16, 5)], ids=["one stream", "16 streams"]
)
def test_streams_against_transformers_one_after_the_other(
    streams, budget, tmp_path, figures
):
    folder = kd.lm.convert("smollm2", tmp_path / "smollm2")
    python = os.environ["KAULDRON_TORCH_PYTHON"]
    ours, theirs = (_ALONE, _TOKENS_ALONE), (_ALONE, _TOKENS_ALONE)
    if streams > 1:
        ours = _LENGTHS, _MAX_TOKENS
        theirs = _LENGTHS[:_NUM_ONE_AFTER_THE_OTHER], _MAX_TOKENS
    programs = {"ours": _Ours(*ours)} | {
        threads: _Peer(python, _TRANSFORMERS, folder, threads, *theirs)
        for threads in _THREADS
    }
    found = _compare(programs)
    what = "serving, one stream" if streams == 1 else f"serving, {streams} streams"
    _record_rate(
        figures, f"{what}, weights in float32, beside transformers", found["ours"]
    )
    recorded = [
        _record(
            figures,
            f"{what}, weights in float32",
            found["ours"],
            found[threads],
            f"transformers on {_told(threads)}, one request after the other",
            budget=budget,
        )
        for threads in _THREADS
    ]
    assert all(figure.is_within_budget for figure in recorded)


def _told(threads):
    return "one thread" if threads == 1 else f"{threads} threads"
