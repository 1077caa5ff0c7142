"""Random numbers of voxels: a function of place and key, whatever is computed."""

from __future__ import annotations

import functools

import numpy as np

from kauldron.volumes.geometry.base import Region

_TABLE_BITS = 16


def normal(key: int, region: Region, num_channels: int) -> np.ndarray:
    """Returns normal noise for a region, `f32[z y x c]`.

    Each voxel's number hangs on its index and the key alone: regions that overlap agree.
    Numbers are one of 65,536 quantiles of the normal distribution, within 4.4 deviations.

    Args:
      key: Below 2**32.
      region: Where in the volume.
      num_channels: Each has noise of its own.
    """
    bits = _bits(key, region, num_channels)
    bits >>= np.uint32(32 - _TABLE_BITS)
    return np.take(_quantiles(), bits)


def _bits(key: int, region: Region, num_channels: int) -> np.ndarray:
    """Returns random `u32[z y x c]`: indices, mixed one after the other."""
    (z0, y0, x0), (z1, y1, x1) = region.start, region.stop
    bits = np.array(key, np.uint32)
    with np.errstate(over="ignore"):
        for low, high in ((z0, z1), (y0, y1)):
            index = np.arange(low, high, dtype=np.uint32)
            bits = _mixed(bits[..., None] ^ index * np.uint32(0x9E3779B9))
        last = np.arange(x0 * num_channels, x1 * num_channels, dtype=np.uint32)
        bits = bits[..., None] + last * np.uint32(0x9E3779B9)
        bits = _mixed(bits)
    return bits.reshape(z1 - z0, y1 - y0, x1 - x0, num_channels)


def _mixed(bits: np.ndarray) -> np.ndarray:
    """Scatters bits, in place: the finalizer of MurmurHash3."""
    spare = np.empty_like(bits)
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35), (16, None)):
        np.right_shift(bits, np.uint32(shift), out=spare)
        np.bitwise_xor(bits, spare, out=bits)
        if factor is not None:
            np.multiply(bits, np.uint32(factor), out=bits)
    return bits


@functools.cache
def _quantiles() -> np.ndarray:
    from scipy import special

    num = 2**_TABLE_BITS
    table = special.ndtri((np.arange(num) + 0.5) / num)
    # What the ends of the distribution lack of its deviation.
    return (table / table.std()).astype(np.float32)
