"""Sliding windows: the numbers of a function of patches, on volumes of any size."""

import functools
import itertools
import pathlib
import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kauldron import kd
from kauldron.modules.patches import tilings


def _volume(shape, num_channels=1, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(*shape, num_channels)).astype(np.float32)


@pytest.fixture(scope="module")
def compiled():
    """A function compiled once for each shape of patches, and how often it was."""
    traced = []

    def identity(patches):
        traced.append(patches.shape)
        return patches

    return identity, traced


@given(
    shape=st.tuples(*[st.integers(1, 9)] * 3),
    overlap=st.one_of(st.floats(0, 0.95), st.integers(0, 3)),
    blend=st.sampled_from(["flat", "cosine", "gaussian"]),
    border=st.sampled_from(["shift", "pad"]),
    floor=st.sampled_from([0.0, 1e-3]),
)
@settings(max_examples=6, deadline=None)
def test_the_identity_through_windows_is_exact(
    compiled, shape, overlap, blend, border, floor
):
    identity, _ = compiled
    volume = _volume(shape)
    out = kd.volumes.sliding_window(
        identity,
        volume,
        patch_size=(4, 4, 4),
        overlap=overlap,
        blend=blend,
        border=border,
        floor=floor,
        batch_size=3,
    )
    np.testing.assert_allclose(out, volume, rtol=1e-6, atol=1e-6)


def test_the_network_is_compiled_once_for_a_size_of_patches(compiled):
    identity, traced = compiled
    traced.clear()
    for shape in ((9, 5, 7), (4, 6, 5), (11, 4, 4)):
        kd.volumes.sliding_window(
            identity, _volume(shape), patch_size=(4, 3, 4), batch_size=2
        )
    assert traced == [(2, 4, 3, 4, 1)]


def _scaled(scale, patches):
    _scaled.traced += 1
    return {"logits": patches * scale, "margin": patches[..., :1] - scale}


def test_other_parameters_do_not_compile_again_and_outputs_are_trees():
    _scaled.traced = 0
    volume = _volume((6, 5, 4), num_channels=2)
    for scale in (2.0, 3.0):
        fn = functools.partial(_scaled, jnp.float32(scale))
        out = kd.volumes.sliding_window(fn, volume, patch_size=(4, 4, 4))
        np.testing.assert_allclose(out["logits"], volume * scale, rtol=1e-6)
        np.testing.assert_allclose(out["margin"], volume[..., :1] - scale, rtol=1e-5)
    assert _scaled.traced == 1


def _with_edges(patches):
    """What a network does: a voxel depends on where it is in its patch."""
    ramp = jnp.arange(patches[0].size, dtype=jnp.float32).reshape(patches.shape[1:])
    return patches * jnp.cos(ramp)[None]


def _expected(volume, starts, size, window):
    """Returns the weighted mean, in f64 with NumPy."""
    total = np.zeros(volume.shape)
    weight = np.zeros((*volume.shape[:3], 1))
    for z, y, x in starts:
        where = slice(z, z + size), slice(y, y + size), slice(x, x + size)
        total[where] += window * np.asarray(_with_edges(volume[where][None])[0])
        weight[where] += window
    return total / weight


@pytest.fixture(scope="module")
def uneven():
    """A volume, the starts of its patches of 4 voxels that overlap by half."""
    starts = itertools.product((0, 2, 3), (0, 2), (0, 1))
    return _volume((7, 6, 5), num_channels=2), list(starts)


def _gaussian(size=4):
    axis = np.exp(-(((np.arange(size) - (size - 1) / 2) * 8 / size) ** 2) / 2)
    return np.einsum("i,j,k->ijk", axis, axis, axis)[..., None]


@pytest.mark.parametrize("floor", [0.0, 1e-3])
def test_what_patches_disagree_on_is_their_windowed_mean(uneven, floor):
    volume, starts = uneven
    expected = _expected(volume, starts, 4, np.maximum(_gaussian(), floor))
    out = kd.volumes.sliding_window(
        _with_edges, volume, patch_size=(4, 4, 4), batch_size=5, floor=floor
    )
    np.testing.assert_allclose(out, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("floor", [0.0, 1e-3])
def test_slabs_have_the_bits_of_the_whole(uneven, floor, tmp_path):
    volume, _ = uneven
    np.save(tmp_path / "volume.npy", volume)
    on_disk = np.load(tmp_path / "volume.npy", mmap_mode="r")
    window = kd.volumes.SlidingWindow(patch_size=(4, 4, 4), batch_size=5, floor=floor)
    whole = window(_with_edges, volume)
    slabs = list(window.slabs(_with_edges, on_disk))
    assert [(r.start[0], r.stop[0]) for r, _ in slabs] == [(0, 2), (2, 3), (3, 7)]
    np.testing.assert_array_equal(np.concatenate([x for _, x in slabs]), whole)


def test_slabs_without_overlap_are_not_overwritten():
    volume = _volume((9, 4, 4))
    window = kd.volumes.SlidingWindow(patch_size=(3, 4, 4), overlap=0)
    slabs = list(window.slabs(_with_edges, volume))
    np.testing.assert_array_equal(
        np.concatenate([x for _, x in slabs]), window(_with_edges, volume)
    )


def test_what_is_infinite_somewhere_stays_so_and_makes_nothing_else_undefined():
    volume = _volume((6, 4, 4))
    volume[3, 2, 2] = -np.inf

    def fn(patches):
        return jnp.where(patches[:, :1] > 0, patches, 0.5 * patches)

    out = kd.volumes.sliding_window(fn, volume, patch_size=(4, 4, 4))
    assert out[3, 2, 2] == -np.inf
    assert np.isfinite(np.delete(np.asarray(out).ravel(), 3 * 16 + 2 * 4 + 2)).all()


def test_a_volume_smaller_than_a_patch_is_padded_and_that_is_told(capsys):
    volume = _volume((3, 2, 5))

    def fn(patches):
        return patches + 0 * patches.min(axis=(1, 2, 3), keepdims=True)

    seen = kd.volumes.sliding_window(
        lambda x: jnp.broadcast_to(x.min(axis=(1, 2, 3), keepdims=True), x.shape),
        volume,
        patch_size=(4, 4, 4),
        pad=-9.0,
    )
    assert (np.asarray(seen) == -9).all()
    assert "Patches of (4, 4, 4) voxels are larger than the volume of (3, 2, 5)" in (
        capsys.readouterr().err
    )
    out = kd.volumes.sliding_window(fn, volume, patch_size=(4, 4, 4))
    np.testing.assert_allclose(out, volume, rtol=1e-6)
    assert not capsys.readouterr().err


def test_nobody_is_told_that_a_free_axis_is_filled_up_to_a_multiple(capsys):
    window = kd.volumes.SlidingWindow(patch_size=(2, None, None), multiple=4)
    window(lambda x: x, _volume((3, 6, 5)))
    assert "larger than the volume" not in capsys.readouterr().err


def test_slices_see_their_neighbours():
    volume = _volume((4, 3, 3))
    out = kd.volumes.sliding_window(
        lambda x: x, volume, patch_size=(1, None, None), context_slices=2
    )
    expected = np.concatenate([volume[[1, 0, 1, 2]], volume, volume[[1, 2, 3, 2]]], -1)
    np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize(
    ("fn", "shape", "options", "words"),
    [
        (lambda x: x, (4, 4, 4), {}, r"volume \[z y x c\]: got the shape"),
        (lambda x: x[:, ::2], (4, 4, 4, 1), {}, "has the shape"),
        (lambda x: np.asarray(x), (4, 4, 4, 1), {}, "compute with `jax.numpy`"),
        (lambda x: x > 0, (4, 4, 4, 1), {}, "it returns is bool. Take the argmax"),
        (lambda x: x, (4, 4, 4, 1), {"overlap": 4}, "Patches must advance"),
        (lambda x: x, (4, 4, 4, 1), {"batch_size": 0}, "a positive integer: got 0"),
        (lambda x: x, (4, 4, 4, 1), {"patch_size": (2, 2)}, r"along \(z, y, x\)"),
        (lambda x: x, (4, 4, 4, 1), {"blend": "gauss"}, "Did you mean 'gaussian'"),
    ],
)
def test_what_cannot_be_predicted_is_told(fn, shape, options, words):
    with pytest.raises(tilings.PatchError, match=words):
        kd.volumes.sliding_window(
            fn, np.ones(shape, np.float32), **{"patch_size": 4} | options
        )


@pytest.mark.parametrize(
    ("blend", "mode", "floor"), [("flat", "constant", 0.0), ("gaussian",) * 2 + (1e-3,)]
)
@pytest.mark.parametrize("overlap", [0.25, 0.6])
def test_the_numbers_are_those_of_monai(blend, mode, floor, overlap):
    numbers = np.load(pathlib.Path(__file__).with_name("monai_numbers.npz"))
    out = kd.volumes.sliding_window(
        _with_edges,
        numbers["volume"][..., None],
        patch_size=(6, 8, 5),
        overlap=overlap,
        blend=blend,
        floor=floor,
        batch_size=3,
    )
    expected = numbers[f"{mode}_{overlap}"]
    np.testing.assert_allclose(out[..., 0], expected, rtol=1e-5, atol=1e-5)


_STREAM = """
import sys
import numpy as np
from kauldron import kd

volume = np.load(sys.argv[1], mmap_mode="r")
out = np.lib.format.open_memmap(sys.argv[2], "w+", np.float32, volume.shape)
window = kd.volumes.SlidingWindow(patch_size=(16, 64, 64), overlap=0.25)

def run(volume, out):
    for region, slab in window.slabs(lambda x: 2.0 * x, volume):
        out[region.slices] = slab

run(volume[:20], out[:20])
# Pages of mapped files count as well, unless memory is short: only what is not mapped.
def anonymous():
    lines = open("/proc/self/status").read().splitlines()
    return next(int(x.split()[1]) for x in lines if x.startswith("RssAnon")) / 1024

before, peak = anonymous(), 0.0
for region, slab in window.slabs(lambda x: 2.0 * x, volume):
    out[region.slices] = slab
    peak = max(peak, anonymous() - before)
print(peak)
"""


@pytest.mark.slow
def test_slabs_of_a_large_file_take_the_memory_of_a_few_slabs(tmp_path):
    shape = (768, 192, 192, 1)
    source, target = tmp_path / "volume.npy", tmp_path / "out.npy"
    volume = np.lib.format.open_memmap(source, "w+", np.float32, shape)
    for z in range(shape[0]):
        volume[z] = z
    volume.flush()
    command = [sys.executable, "-c", _STREAM, str(source), str(target)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    # MiB, programs included; the volume has 108, a slab 2.3, a batch of patches 1. What
    # is added to that by further slabs is nothing: it is the same for 10 times as many.
    assert float(done.stdout) < 54
    out = np.load(target, mmap_mode="r")
    np.testing.assert_allclose(out[::17, ::13, ::11], 2 * volume[::17, ::13, ::11])
