"""How much noise the U-Net of `configs/photos_unet.py` takes away."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import photos_unet
from examples import photos_data
from kauldron import konfig


def test_pieces_are_of_the_photographs_and_each_index_has_noise_of_its_own():
    pieces = photos_data.NoisyPhotos(split="test", num_pieces=40, size=32)
    rows = [pieces[i] for i in range(40)]
    noise = np.stack([row["noise"] for row in rows])
    assert noise.shape == (40, 32, 32, 1)
    # The error of a standard deviation is 1 / sqrt(2 n) of it: here 0.35 %.
    np.testing.assert_allclose(noise.std(), 0.1, rtol=0.02)
    assert abs(np.corrcoef(noise[0].ravel(), noise[1].ravel())[0, 1]) < 0.2
    clean = np.stack([row["image"] for row in rows]) - noise
    # Noise is added and taken away in f32.
    assert clean.min() > -1e-6
    assert clean.max() < 1 + 1e-6
    np.testing.assert_array_equal(pieces[3]["image"], rows[3]["image"])


def test_no_photograph_is_in_both_splits():
    train, test = (
        photos_data.NoisyPhotos(split=split, num_pieces=1).photos
        for split in ("train", "test")
    )
    assert not set(train) & set(test)
    for photo in [*train.values(), *test.values()]:
        assert 0.2 < photo.max() <= 1


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_whole_photographs_are_cleaner_than_by_total_variation_or_nonlocal_means(
    tmp_path,
):
    from skimage import restoration

    cfg = photos_unet.get_config()
    cfg.workdir = str(tmp_path)
    trainer = konfig.resolve(cfg)
    state, _ = trainer.train()
    predict = jax.jit(lambda x: trainer.model.apply({"params": state.params}, x))

    def by_network(noisy):
        # The network halves an image twice.
        pad = [(0, -size % 4) for size in noisy.shape]
        padded = jnp.pad(noisy, pad, mode="reflect")[..., None]
        noise = predict(padded)["logits"][: noisy.shape[0], : noisy.shape[1], 0]
        return noisy - noise

    def by_total_variation(weight):
        return lambda x: restoration.denoise_tv_chambolle(x, weight=weight)

    def by_nonlocal_means(h):
        return lambda x: restoration.denoise_nl_means(
            x, patch_size=7, patch_distance=9, h=h, sigma=0.1
        )

    photos = photos_data.NoisyPhotos(split="test", num_pieces=1).photos
    rng = np.random.default_rng(0)
    pairs = [(x, np.float32(x + rng.normal(0, 0.1, x.shape))) for x in photos.values()]
    # The others' strength is the best for these photographs.
    psnr = {
        "U-Net": _psnr(by_network, pairs),
        "total variation": max(
            _psnr(by_total_variation(weight), pairs) for weight in (0.1, 0.105, 0.11)
        ),
        "non-local means": max(
            _psnr(by_nonlocal_means(h), pairs) for h in (0.05, 0.055, 0.06)
        ),
    }
    print(psnr)
    assert psnr["U-Net"] > 29.3
    assert psnr["U-Net"] > psnr["non-local means"] > psnr["total variation"]


def _psnr(denoise, pairs):
    """Mean over photographs, in dB of the range from black to white."""
    errors = [np.mean((np.asarray(denoise(noisy)) - x) ** 2) for x, noisy in pairs]
    return float(np.mean(-10 * np.log10(errors)))
