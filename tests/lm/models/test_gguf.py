"""GGUF files: blocks are dequantised by the specification, rows are in our order."""

from __future__ import annotations

import math

import gguf
import jax
import numpy as np
import pytest

from kauldron import kd
from kauldron.lm.models._gguf_weights import GgufWeights
from kauldron.lm.text import gguf_files
from tests.lm import small_model

MODEL = small_model.model(features=64, hidden_features=64, has_tied_head=True)
_PARTS = {
    "attn_q": "attention.query",
    "attn_k": "attention.key",
    "attn_v": "attention.value",
    "attn_output": "attention.out",
    "ffn_gate": "feed_forward.gate",
    "ffn_up": "feed_forward.up",
    "ffn_down": "feed_forward.down",
}


def _q4_0(block):
    d = block[:2].view(np.float16).astype(np.float32)
    low, high = block[2:18] & 15, block[2:18] >> 4
    return d * (np.concatenate([low, high]).astype(np.float32) - 8)


def _q4_1(block):
    d, m = block[:4].view(np.float16).astype(np.float32)
    low, high = block[4:20] & 15, block[4:20] >> 4
    return d * np.concatenate([low, high]) + m


def _q8_0(block):
    d = block[:2].view(np.float16).astype(np.float32)
    return d * block[2:34].view(np.int8)


def _q4_k(block):
    d, dmin = block[:4].view(np.float16).astype(np.float32)
    q, nibbles = block[4:16].astype(int), block[16:144].reshape(4, 32)
    y = []
    for j in range(8):
        if j < 4:
            scale, least = q[j] & 63, q[j + 4] & 63
        else:
            scale = (q[j + 4] & 15) | ((q[j - 4] >> 6) << 4)
            least = (q[j + 4] >> 4) | ((q[j] >> 6) << 4)
        part = nibbles[j // 2] >> 4 if j % 2 else nibbles[j // 2] & 15
        y.append(d * scale * part.astype(np.float32) - dmin * least)
    return np.concatenate(y)


def _q6_k(block):
    d = block[208:210].view(np.float16).astype(np.float32)
    y = np.zeros(256, np.float32)
    for half in range(2):
        low = block[half * 64 : half * 64 + 64].astype(int)
        high = block[128 + half * 32 : 160 + half * 32].astype(int)
        scales = block[192 + half * 8 : 200 + half * 8].view(np.int8).astype(int)
        for i in range(4):
            part = low[:32] if i % 2 == 0 else low[32:]
            part = (part & 15) if i < 2 else (part >> 4)
            values = (part | (((high >> 2 * i) & 3) << 4)) - 32
            scale = np.repeat(scales[2 * i : 2 * i + 2], 16)
            y[half * 128 + i * 32 : half * 128 + i * 32 + 32] = d * scale * values
    return y


_BLOCKS = {
    "Q4_0": (18, (0,), _q4_0),
    "Q4_1": (20, (0, 2), _q4_1),
    "Q8_0": (34, (0,), _q8_0),
    "Q4_K": (144, (0, 2), _q4_k),
    "Q6_K": (210, (208,), _q6_k),
}


def _write(path, tensors, *, architecture="llama", **metadata):
    """Writes a file; tensors are arrays, or their bytes and type."""
    writer = gguf.GGUFWriter(path, architecture)
    for add, value in metadata.items():
        getattr(writer, f"add_{add}")(value)
    for name, tensor in tensors.items():
        data, kind = tensor if isinstance(tensor, tuple) else (tensor, None)
        writer.add_tensor(name, data, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.mark.parametrize("name", _BLOCKS)
def test_blocks_are_what_the_specification_says(name, tmp_path):
    num_bytes, halves, expected_of = _BLOCKS[name]
    rng = np.random.default_rng(0)
    rows = rng.integers(256, size=(3, 2 * num_bytes), dtype=np.uint8)
    blocks = rows.reshape(6, num_bytes)
    for at in halves:
        factors = rng.standard_normal(6).astype(np.float16)
        blocks[:, at : at + 2] = factors[:, None].view(np.uint8)
    kind = getattr(gguf.GGMLQuantizationType, name)
    path = _write(tmp_path / "x.gguf", {"x": (rows, kind)})
    weights = GgufWeights(gguf_files.GgufFile.open(path))
    found = weights.views(["x"])["x"]
    expected = np.concatenate([expected_of(block) for block in blocks]).reshape(3, -1)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert weights.specs()["x"].shape == expected.shape


@pytest.mark.parametrize("name", ["F32", "F16", "BF16"])
def test_floats_are_read_as_they_are(name, tmp_path):
    # Integers of few bits are exact in each of them.
    x = np.arange(-60, 60, dtype=np.float32).reshape(4, 30)
    kind = getattr(gguf.GGMLQuantizationType, name)
    tensor = {
        "F32": x,
        "F16": x.astype(np.float16),
        "BF16": ((x.view(np.uint32) >> 16).astype(np.uint16).view(np.uint8), kind),
    }[name]
    path = _write(tmp_path / "x.gguf", {"x": tensor})
    weights = GgufWeights(gguf_files.GgufFile.open(path))
    np.testing.assert_array_equal(weights.views(["x"])["x"], x)


def _sorted_into_pairs(rows, num_heads):
    """The published conversion of queries and keys: rows of a head become pairs."""
    halves = rows.reshape(num_heads, 2, -1, rows.shape[-1])
    return halves.swapaxes(1, 2).reshape(rows.shape)


_NORMS = {
    "attn_norm": "attention_norm",
    "post_attention_norm": "attention_post_norm",
    "ffn_norm": "feed_forward_norm",
    "post_ffw_norm": "feed_forward_post_norm",
    "attn_q_norm": "attention.query_norm",
    "attn_k_norm": "attention.key_norm",
}


def _tensors(params, *, has_pairs=True, added_to_scales=0):
    """Returns the tensors of a decoder, rows are outputs."""
    flat = {
        jax.tree_util.keystr(path, simple=True, separator="."): x
        for path, x in jax.tree.leaves_with_path(params)
    }
    found = {
        "token_embd.weight": params["embedding"],
        "output_norm.weight": params["final_norm"]["scale"] + added_to_scales,
    }
    for i in range(2):
        for theirs, ours in _NORMS.items():
            if (scale := flat.get(f"layer_{i}.{ours}.scale")) is not None:
                found[f"blk.{i}.{theirs}.weight"] = scale + added_to_scales
        for theirs, ours in _PARTS.items():
            kernel = flat.get(f"layer_{i}.{ours}.kernel")
            if kernel is None:
                continue
            lead = 64 if theirs != "attn_output" else kernel.shape[0] * kernel.shape[1]
            rows = kernel.reshape(lead, -1).T
            if theirs in ("attn_q", "attn_k") and has_pairs:
                rows = _sorted_into_pairs(rows, kernel.shape[1])
            found[f"blk.{i}.{theirs}.weight"] = np.ascontiguousarray(rows)
    return found


_METADATA = {
    "block_count": 2,
    "context_length": 96,
    "embedding_length": 64,
    "feed_forward_length": 64,
    "head_count": 4,
    "head_count_kv": 2,
    "layer_norm_rms_eps": 1e-5,
    "rope_freq_base": 10_000.0,
}


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gguf")
    tensors = _tensors(small_model.params(MODEL))
    return _write(folder / "small.gguf", tensors, **_METADATA)


def test_a_file_is_the_model_it_was_made_of(path):
    published = kd.lm.find(path)
    model = published.model(tokens="batch.tokens")
    params = published.params(model)
    jax.tree.map(np.testing.assert_array_equal, params, small_model.params(MODEL))
    sizes = ("rope_theta", "rms_norm_eps", "num_key_value_heads", "tie_word_embeddings")
    assert [published.config[name] for name in sizes] == [10_000.0, 1e-5, 2, True]
    assert published.context_length == 96


@pytest.mark.parametrize("name", ["gemma2", "gemma3"])
def test_scales_of_gemma_have_one_added_in_files(name, tmp_path):
    options = {"head_dim": 16, "window": 32, "scale": 16**-0.5}
    model = small_model.model(
        name, features=64, hidden_features=64, has_tied_head=True, **options
    )
    params = small_model.params(model)
    path = _write(
        tmp_path / "gemma.gguf",
        _tensors(params, has_pairs=False, added_to_scales=1),
        architecture=name,
        key_length=16,
        sliding_window=32,
        **_METADATA,
        **{"attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0}
        if name == "gemma2"
        else {},
    )
    published = kd.lm.find(path)
    model = published.model(tokens="batch.tokens")
    assert {block.attention.window for block in model.blocks} == {32, None}
    assert model.blocks[0].attention.scale == 16**-0.5
    assert model.head_softcap == (30.0 if name == "gemma2" else None)
    for a, b in zip(
        *map(jax.tree.leaves, (published.params(model), params)), strict=True
    ):
        np.testing.assert_allclose(a, b, atol=1e-6)  # 1 is added and taken away


def test_experts_of_a_mixture_are_one_tensor(tmp_path):
    moe = kd.nn.MoE(
        num_experts=3, hidden_features=64, routing=kd.nn.Routing(num_selected=2)
    )
    model = small_model.model(
        "mixtral", features=64, hidden_features=64, has_tied_head=True, moe=moe
    )
    params = small_model.params(model)
    tensors = _tensors(params)
    for i in range(2):
        experts = params[f"layer_{i}"]["feed_forward"]
        tensors[f"blk.{i}.ffn_gate_inp.weight"] = np.ascontiguousarray(
            experts["router"].T
        )
        for part in ("gate", "up", "down"):
            rows = np.ascontiguousarray(experts[part].swapaxes(1, 2))
            tensors[f"blk.{i}.ffn_{part}_exps.weight"] = rows
    counts = {"expert_count": 3, "expert_used_count": 2}
    published = kd.lm.find(
        _write(tmp_path / "moe.gguf", tensors, **_METADATA, **counts)
    )
    found = published.model(tokens="batch.tokens")
    assert found.blocks[0].feed_forward.routing.num_selected == 2
    jax.tree.map(np.testing.assert_array_equal, published.params(found), params)


def test_divisors_of_frequencies_are_the_scaling_of_llama3(path, tmp_path):
    size, theta = 16, 10_000.0
    turns = 8192 * theta ** (-np.arange(0, size, 2) / size) / (2 * np.pi)
    share = np.clip((turns - 1) / 3, 0, 1)  # of what is kept
    divisors = (1 / (share + (1 - share) / 32)).astype(np.float32)
    tensors = _tensors(small_model.params(MODEL))

    def find(divisors):
        tensors["rope_freqs.weight"] = divisors
        return kd.lm.find(_write(tmp_path / "x.gguf", tensors, **_METADATA))

    published = find(divisors)
    rope = published.model(tokens="batch.tokens").blocks[0].attention.rope
    assert rope.scaling == kd.nn.Llama3Scaling(factor=32.0, original_length=8192)
    published.params(published.model(tokens="batch.tokens"))
    with pytest.raises(kd.lm.ModelError, match=r"divides the frequencies .* 1 to 9"):
        find(np.linspace(1, 9, 8, dtype=np.float32))


def test_a_truncated_file_is_told_with_its_name_and_the_tensor(path, tmp_path):
    content = path.read_bytes()
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(content[:-100])
    with pytest.raises(kd.lm.GgufError, match=r"cut\.gguf' is truncated: 'blk\.1\."):
        kd.lm.find(cut)
    cut.write_bytes(content[:300])
    with pytest.raises(
        kd.lm.GgufError, match=r"truncated: it ends within the (meta|li)"
    ):
        kd.lm.find(cut)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: b"PK" + c[2:], "is no GGUF file"),
        (lambda c: c[:4] + b"\x01" + c[5:], "has version 1 of GGUF"),
        (lambda c: c.replace(b"llama", b"mamba"), "has the architecture 'mamba'"),
        (lambda c: c.replace(b"token_embd", b"token_emb_"), "lacks the tensor"),
        (lambda c: c.replace(b"blk.1.ffn_up", b"blk.1.ffn_xx"), "does not fit"),
    ],
)
def test_a_damaged_or_foreign_file_is_told(path, tmp_path, change, message):
    other = tmp_path / "other.gguf"
    other.write_bytes(change(path.read_bytes()))
    with pytest.raises(
        (kd.lm.GgufError, kd.lm.ModelError, kd.ckpts.CheckpointError)
    ) as e:
        published = kd.lm.find(other)
        published.params(published.model(tokens="batch.tokens"))
    assert message in str(e.value)
    assert "other.gguf" in str(e.value)


def test_sizes_that_do_not_fit_the_tensors_are_told(path, tmp_path):
    tensors = _tensors(small_model.params(MODEL))
    other = _write(
        tmp_path / "wide.gguf", tensors, **(_METADATA | {"feed_forward_length": 80})
    )
    published = kd.lm.find(other)
    with pytest.raises(kd.ckpts.CheckpointError, match=r"(?s)wide\.gguf.*ffn_down"):
        published.params(published.model(tokens="batch.tokens"))


@pytest.mark.parametrize("name", ["F16", "BF16", *_BLOCKS])
def test_numbers_are_those_of_the_gguf_package_to_the_bit(name, tmp_path):
    rng = np.random.default_rng(0)
    kind = getattr(gguf.GGMLQuantizationType, name)
    block, num_bytes = gguf.GGML_QUANT_SIZES[kind]
    shapes = {
        "token_embd.weight": (300, 1024),  # several parts
        "output.weight": (1000, 512),
        "blk.0.ffn_gate_exps.weight": (3, 70, 256),
        "blk.0.attn_norm.weight": (512,),
    }
    tensors = {}
    for tensor, shape in shapes.items():
        numbers = rng.standard_normal(math.prod(shape) * num_bytes // block // 2 + 1)
        # Bytes of f16, so that no factor is infinite.
        stored = numbers.astype(np.float16).view(np.uint8)
        stored = stored[: math.prod(shape) // block * num_bytes]
        tensors[tensor] = (stored.reshape(*shape[:-1], -1), kind)
    path = _write(tmp_path / "x.gguf", tensors)
    views = GgufWeights(gguf_files.GgufFile.open(path)).views(shapes)
    for tensor, (stored, _) in tensors.items():
        expected = gguf.quants.dequantize(stored, kind)
        assert views[tensor].shape == shapes[tensor]
        np.testing.assert_array_equal(
            views[tensor].view(np.uint32), expected.view(np.uint32)
        )


def test_matrices_have_the_memory_of_kernels_and_embeddings_that_of_rows(tmp_path):
    kind = gguf.GGMLQuantizationType.Q8_0
    rows = np.zeros((6, 2 * 34), np.uint8)
    path = _write(
        tmp_path / "x.gguf",
        {"output.weight": (rows, kind), "token_embd.weight": (rows, kind)},
    )
    views = GgufWeights(gguf_files.GgufFile.open(path)).views(
        ["output.weight", "token_embd.weight"]
    )
    kernel, embedding = views["output.weight"].T, views["token_embd.weight"]
    for leaf in (kernel, embedding):
        assert leaf.flags.c_contiguous
        assert leaf.ctypes.data % 64 == 0  # XLA takes it as it is
