"""Blocks of numbers in GGUF files: how the bytes of each type become f32.

The first axis of `stored` is the bytes of a block, that of `out` its numbers; further axes
say which block. So one formula serves every order in memory, and NumPy's loops run along
whichever axis is dense there. Operations and their order are the reference's, and so are
the results, to the bit.

Reference: `dequantize_row_*` of GGML.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Mapping
from concurrent import futures

import numpy as np

from kauldron.lm.text import gguf_files
from kauldron.sharding import aligned_arrays

Unpack = Callable[[np.ndarray, np.ndarray], None]
_LOW = np.uint8(15)
# So few at once that they stay in a cache, so many that NumPy's calls are no cost.
_NUMBERS_AT_ONCE = 2**18
_FLOATS = ("F16", "BF16")  # their bytes come as one number


class Dequantiser:
    """Makes arrays of stored blocks, on all cores."""

    def __init__(self) -> None:
        self._pool = futures.ThreadPoolExecutor(os.cpu_count())

    def __call__(
        self, stored: np.ndarray, tensor: gguf_files.GgufTensor, *, inputs_first: bool
    ) -> np.ndarray:
        """Returns a tensor in f32.

        Args:
          stored: Its bytes.
          tensor: What it is.
          inputs_first: Whether its memory is that of a kernel, whose inputs come before
            its outputs as they do not in files: nothing is left to transpose then.
        """
        name, block, num_bytes = gguf_files.TYPES[tensor.type_number]
        if name in _FLOATS:
            stored, num_bytes = stored.view(np.uint16), 1
        *_, num_rows, num_columns = (1, *tensor.shape)
        rows = stored.reshape(-1, num_rows, num_columns // block, num_bytes)
        if inputs_first:
            shape = (len(rows), num_columns, num_rows)
            result = aligned_arrays.empty(shape, np.float32)
            numbers = result.reshape(len(rows), -1, block, num_rows)
            matrices = list(zip(rows.transpose(0, 2, 3, 1), numbers, strict=True))
            result = result.swapaxes(1, 2).reshape(tensor.shape)
        else:
            result = aligned_arrays.empty(tensor.shape, np.float32)
            matrices = [(rows.reshape(-1, num_bytes), result.reshape(-1, block))]
        done = [
            self._pool.submit(_fill, _UNPACK[name], blocks[part], numbers[part])
            for blocks, numbers in matrices
            for part in _parts(numbers)
        ]
        for part in done:
            part.result()
        return result


def _parts(numbers: np.ndarray) -> Iterator[slice]:
    step = max(_NUMBERS_AT_ONCE // math.prod(numbers.shape[1:]), 1)
    return (slice(i, i + step) for i in range(0, len(numbers), step))


def _fill(unpack: Unpack, blocks: np.ndarray, numbers: np.ndarray) -> None:
    if blocks.shape[1] > 1:  # dense, if it is read more than once
        blocks = np.ascontiguousarray(blocks)
    unpack(blocks.swapaxes(0, 1), numbers.swapaxes(0, 1))


def _f16(stored: np.ndarray) -> np.ndarray:
    """Returns the factors whose two bytes are the first axis."""
    pairs = np.ascontiguousarray(np.moveaxis(stored, 0, -1))
    return pairs.view(np.float16)[..., 0].astype(np.float32)


def _from_f16(stored: np.ndarray, out: np.ndarray) -> None:
    np.copyto(out, stored.view(np.float16))


def _from_bf16(stored: np.ndarray, out: np.ndarray) -> None:
    bits = out.view(np.uint32)
    np.copyto(bits, stored)
    bits <<= np.uint32(16)


def _nibbles(packed: np.ndarray, out: np.ndarray) -> None:
    """Fills the first half of each run of numbers by low bits, the second by high ones."""
    half = len(packed)
    np.copyto(out[:half], packed & _LOW)
    np.copyto(out[half:], packed >> np.uint8(4))


def _q4_0(stored: np.ndarray, out: np.ndarray) -> None:
    _nibbles(stored[2:], out)
    out -= 8
    out *= _f16(stored[:2])


def _q4_1(stored: np.ndarray, out: np.ndarray) -> None:
    _nibbles(stored[4:], out)
    out *= _f16(stored[:2])
    out += _f16(stored[2:4])


def _q8_0(stored: np.ndarray, out: np.ndarray) -> None:
    np.copyto(out, stored[2:].view(np.int8))
    out *= _f16(stored[:2])


def _q4_k(stored: np.ndarray, out: np.ndarray) -> None:
    rest = stored.shape[1:]
    packed = stored[16:].reshape(4, 32, *rest)
    parts = out.reshape(4, 64, *rest)
    for i in range(4):
        _nibbles(packed[i], parts[i])
    # Six bits of each factor: the first four whole, of the others four and two.
    scales, offsets, both = (stored[4 + i : 8 + i] for i in (0, 4, 8))
    scales = np.concatenate([scales & 63, (both & _LOW) | (scales >> 6 << 4)])
    offsets = np.concatenate([offsets & 63, (both >> 4) | (offsets >> 6 << 4)])
    parts = out.reshape(8, 32, *rest)
    parts *= (_f16(stored[:2]) * scales)[:, None]
    parts -= (_f16(stored[2:4]) * offsets)[:, None]


def _q6_k(stored: np.ndarray, out: np.ndarray) -> None:
    rest = stored.shape[1:]
    parts = out.reshape(2, 128, *rest)
    for i in range(2):
        low = stored[64 * i : 64 * i + 64]
        high = stored[128 + 32 * i : 160 + 32 * i]
        for j in range(4):
            bits = low[32 * (j % 2) :][:32]
            bits = bits >> 4 if j > 1 else bits & _LOW
            top = (high >> np.uint8(2 * j) & 3) << np.uint8(4)
            np.copyto(parts[i, 32 * j : 32 * j + 32], bits | top)
    out -= 32
    scales = stored[192:208].view(np.int8).astype(np.float32)
    parts = out.reshape(16, 16, *rest)
    parts *= (_f16(stored[208:]) * scales)[:, None]


# Name of a type -> what fills `out` from `stored`.
_UNPACK: Mapping[str, Unpack] = {
    "F16": _from_f16,
    "BF16": _from_bf16,
    "Q4_0": _q4_0,
    "Q4_1": _q4_1,
    "Q8_0": _q8_0,
    "Q4_K": _q4_k,
    "Q6_K": _q6_k,
}
