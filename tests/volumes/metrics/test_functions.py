"""Dice, landmarks, PSNR and SSIM of one pair of volumes."""

from __future__ import annotations

import jax
import numpy as np
import pytest
import SimpleITK as sitk
from skimage import metrics as skimage_metrics

from kauldron import kd, kontext

metrics = kd.volumes.metrics


def test_dice_is_that_of_simpleitk():
    a, b = (np.random.default_rng(i).integers(0, 3, (4, 5, 6)) for i in range(2))
    peer = sitk.LabelOverlapMeasuresImageFilter()
    peer.Execute(*(sitk.GetImageFromArray(x.astype(np.uint8)) for x in (a, b)))
    found = metrics.dice(a, b, labels=[1, 2])
    assert found == pytest.approx({i: peer.GetDiceCoefficient(i) for i in (1, 2)})
    assert metrics.dice(a == 2, b == 2) == pytest.approx(found[2])


def test_dice_of_an_empty_region_is_0_and_of_two_is_undefined():
    a, b = np.zeros((2, 2, 2, 2), np.uint8)
    a[0] = 7
    assert metrics.dice(a, b) == 0
    assert np.isnan(metrics.dice(b, b))


def test_probabilities_are_no_region():
    inside = np.ones((2, 2, 2), np.float32)
    with pytest.raises(kd.volumes.VolumeError, match=r"such as 0\.25.*> 0\.5"):
        metrics.dice(inside * 0.25, inside)
    with pytest.raises(kd.volumes.VolumeError, match="such as nan"):
        metrics.dice(inside, inside * np.nan, labels=[1])
    assert metrics.dice(inside, inside > 0.5) == 1


def test_voxels_outside_of_the_mask_are_in_no_region_and_no_background():
    a, b, mask = np.zeros((3, 1, 1, 4), int)
    a[..., :3], b[..., 1:] = 1, 1
    mask[..., 2:] = 1
    # Inside are (1, 1) and (0, 1): of label 1 one common, and 1 + 2; of label 0 none.
    assert metrics.dice(a, b, mask=mask, labels=[0, 1]) == {0: 0.0, 1: 2 / 3}


def test_target_error_is_the_mean_distance_of_the_landmarks_there_are():
    a = np.array([[0, 0, 0], [1, 1, 1], [np.nan, 0, 0]])
    b = np.array([[3, 4, 0], [1, 1, 1], [0, 0, 0]])
    assert metrics.tre(a, b) == 2.5
    assert metrics.tre(a, b, spacing_mm=(2, 1, 1)) == np.sqrt(36 + 16) / 2
    assert np.isnan(metrics.tre(a[2:], b[2:]))
    with pytest.raises(ValueError, match="as many in both"):
        metrics.tre(a, b[:2])


def _volumes(shape=(12, 13, 14), scale=1000.0, offset=-200.0):
    rng = np.random.default_rng(0)
    a = rng.random(shape)
    b = a + 0.2 * rng.normal(size=shape)
    return scale * a + offset, scale * b + offset


def test_psnr_is_that_of_scikit_image():
    a, b = _volumes()
    expected = skimage_metrics.peak_signal_noise_ratio(a, b, data_range=1500.0)
    assert metrics.psnr(a, b, data_range=1500.0) == pytest.approx(expected)
    assert metrics.psnr(a, a, data_range=1500.0) == np.inf


def _expected_ssim(a, b, data_range, **kwargs):
    return skimage_metrics.structural_similarity(
        a,
        b,
        data_range=data_range,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        **kwargs,
    )


def test_ssim_is_that_of_scikit_image_for_cubes_and_for_slices():
    a, b = _volumes()
    of_slices = np.mean(
        [_expected_ssim(x, y, 1500.0) for x, y in zip(a, b, strict=True)]
    )
    found = metrics.ssim(a, b, data_range=1500.0)
    # f32 variances, relative to the range.
    assert found == pytest.approx(_expected_ssim(a, b, 1500.0), abs=1e-5)
    found = metrics.ssim(a, b, data_range=1500.0, window="2d")
    assert found == pytest.approx(of_slices, abs=1e-5)


def test_masks_of_intensities_choose_voxels_and_windows():
    a, b = _volumes()
    mask = np.zeros(a.shape, bool)
    mask[5:7, 6, 5:] = True  # around the centres of windows, and beyond
    expected = _expected_ssim(a, b, 1500.0, full=True)[1][5:7, 6, 5:9].mean()
    found = metrics.ssim(a, b, data_range=1500.0, mask=mask)
    assert found == pytest.approx(expected, abs=1e-5)
    mse = np.square(a - b)[mask].mean()
    found = metrics.psnr(a, b, data_range=10.0, mask=mask)
    assert found == pytest.approx(10 * np.log10(100 / mse))
    assert np.isnan(metrics.psnr(a, b, data_range=10.0, mask=0 * mask))


def test_no_range_is_guessed():
    a, b = _volumes()
    with pytest.raises(TypeError, match="data_range"):
        metrics.psnr(a, b)
    with pytest.raises(TypeError, match="data_range"):
        metrics.ssim(a, b)
    with pytest.raises(ValueError, match="above 0"):
        metrics.ssim(a, b, data_range=0)
    with pytest.raises(ValueError, match="'3d' or '2d'"):
        metrics.ssim(a, b, data_range=1, window="1d")


@pytest.mark.parametrize("member", [kd.metrics.Psnr, kd.metrics.Ssim])
def test_metrics_of_images_measure_volumes_when_told(member):
    a, b = (x[None, ..., None].astype(np.float32) for x in _volumes(scale=1, offset=0))
    metric = member(pred="a", target="b", num_spatial_dims=3)
    volume, other = a[0, ..., 0], b[0, ..., 0]
    if member is kd.metrics.Ssim:
        expected = _expected_ssim(volume, other, 1.0)
    else:
        expected = skimage_metrics.peak_signal_noise_ratio(volume, other, data_range=1)
    state = jax.jit(lambda a, b: metric.get_state(pred=a, target=b))(a, b)
    assert state.compute() == pytest.approx(expected, rel=1e-4)
    with pytest.raises(ValueError, match=r"\*b z y x c"):
        metric(pred=volume, target=other)
    with pytest.raises(ValueError, match="is 2 or 3"):
        member(pred="a", target="b", num_spatial_dims=1)(pred=a, target=b)


def test_keys_of_members_are_keys():
    dice = metrics.Dice(pred_labels="p", labels="l", classes=(1,), case="batch.case")
    assert set(kontext.get_keypaths(dice).values()) == {"p", "l", None, "batch.case"}
