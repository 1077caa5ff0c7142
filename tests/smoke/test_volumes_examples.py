"""Examples on volumes train some steps, on a made-up brain that stands in for the real."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.ndimage

from examples import volumes_data
from kauldron import apps, kd, volumes
from tests.smoke.test_lm_examples import train

pytestmark = pytest.mark.smoke

_SHAPE = (24, 112, 24)


@pytest.fixture(scope="module")
def stand_in(tmp_path_factory):
    """A folder with a brain: white inside, grey around it, fluid outside, smooth noise."""
    root, rng = tmp_path_factory.mktemp("mni"), np.random.default_rng(0)
    (root / "icbm152").mkdir()
    places = [
        (i - (n - 1) / 2) / (n / 2)
        for i, n in zip(np.indices(_SHAPE), _SHAPE, strict=True)
    ]
    bumps = scipy.ndimage.gaussian_filter(rng.standard_normal(_SHAPE), 2)
    depth = 1 - np.sqrt(sum(np.square(places))) + 2 * bumps
    white, brain = (1 / (1 + np.exp(-20 * (depth - at))) for at in (0.35, 0.1))
    is_brain = depth > 0.0
    images = {
        "t1": is_brain
        * (60 + 90 * brain + 90 * white + 2 * rng.standard_normal(_SHAPE)),
        "gm": 255 * (brain - white),
        "wm": 255 * white,
    }
    geometry = kd.volumes.Geometry.make(1.0, (-12.0, -56.0, -12.0))
    for name, array in images.items():
        image = kd.volumes.Image(array.clip(0, 255).astype(np.uint8), geometry)
        kd.volumes.write(root / "icbm152" / f"{name}.nii.gz", image)
    return root


def test_cases_lie_where_they_were_in_the_brain_and_far_from_each_other(stand_in):
    folder = volumes_data.cases(stand_in)
    assert volumes_data.cases(stand_in) == folder  # made once
    whole = kd.volumes.read(stand_in / "icbm152" / "t1.nii.gz")
    rows = {}
    for case in volumes_data.SLABS:
        t1 = kd.volumes.read(folder / case / "t1.nii.gz")
        start = np.round(whole.geometry.to_index(t1.geometry.to_world((0, 0, 0))))
        rows[case] = (int(start[1]), int(start[1]) + t1.shape[1])
        np.testing.assert_array_equal(t1.array, whole.array[:, slice(*rows[case])])
    learnt, measured = (
        [rows[case] for case in rows if case.startswith(part)]
        for part in ("train", "test")
    )
    # 16 of 233 voxels, whatever the size.
    gap = min(a for a, _ in measured) - max(b for _, b in learnt)
    assert gap >= 16 / 233 * _SHAPE[1] - 1


def test_thresholds_are_the_best_of_all_pairs():
    rng = np.random.default_rng(0)
    tissue = rng.integers(1, 4, 300)
    t1 = np.clip(np.round(20 * tissue + rng.normal(0, 8, 300)), 1, 80).astype(int)

    def dice(low, high):
        by_threshold = 1 + (t1 > low) + (t1 > high)
        both = [((tissue == k) & (by_threshold == k)).sum() for k in (1, 2, 3)]
        sizes = [(tissue == k).sum() + (by_threshold == k).sum() for k in (1, 2, 3)]
        return np.mean(2 * np.array(both) / sizes)

    found = volumes_data.thresholds(t1, tissue)
    best = max(dice(low, high) for low in range(81) for high in range(low + 1, 81))
    assert dice(*found) == pytest.approx(best)


def test_points_of_pairs_have_the_same_intensity_in_both_images(stand_in):
    pairs = volumes_data.WarpedPairs(
        split="train", num_pairs=3, size=(16, 16, 16), folder=str(stand_in), max_mm=3.0
    )
    errors, before = [], []
    for pair in (pairs[i] for i in range(3)):
        at = scipy.ndimage.map_coordinates
        fixed, moved, stayed = (
            at(pair[name][..., 0], pair[points].T, order=1)
            for name, points in (
                ("fixed", "points"),
                ("moving", "moved_points"),
                ("moving", "points"),
            )
        )
        errors.append(np.abs(fixed - moved).mean())
        before.append(np.abs(fixed - stayed).mean())
    # Interpolated twice, and noisy: not the same, but nearly.
    assert np.mean(errors) < 0.5 * np.mean(before)


def test_tissue_is_segmented(stand_in, tmp_path):
    records = train(
        "volumes_segmentation",
        tmp_path,
        aux__folder=str(stand_in),
        aux__patch_size=16,
        aux__batch_size=8,
        model__features=(4, 4, 8),
        num_train_steps=6,
        log_metrics_every=5,
    )
    first, last = (records["train", step]["losses/total"] for step in (0, 5))
    assert last < first
    assert 0.5 < records["eval", 0]["metrics/dice_by_threshold/mean"] < 1


def test_grey_matter_is_made_from_an_image(stand_in, tmp_path):
    records = train(
        "volumes_synthesis",
        tmp_path,
        aux__folder=str(stand_in),
        aux__patch_size=16,
        aux__batch_size=8,
        model__nodes__generator__module__features=(4, 8),
        num_train_steps=6,
        log_metrics_every=5,
    )
    first, last = (records["train", step]["losses/grey"] for step in (0, 5))
    assert last < first
    assert records["eval", 0]["metrics/psnr_by_intensity"] > 10


def test_a_deformation_is_found(stand_in, tmp_path):
    records = train(
        "volumes_registration",
        tmp_path,
        aux__folder=str(stand_in),
        aux__size=(16, 16, 16),
        aux__batch_size=8,
        model__network__features=(4, 8),
        num_train_steps=6,
        log_metrics_every=5,
    )
    before = records["eval", 0]
    # Nothing moves before training.
    assert before["metrics/tre_mm"] == pytest.approx(
        before["metrics/tre_before_mm"], rel=0.01
    )
    assert np.isfinite(records["train", 5]["losses/total"])


@pytest.mark.slow
def test_the_brain_becomes_an_app(stand_in, tmp_path):
    train(
        "app_brain",
        tmp_path / "run",
        aux__folder=str(stand_in),
        aux__patch_size=16,
        aux__batch_size=8,
        model__features=(4, 4, 8),
        num_train_steps=2,
    )
    apps.bundle(tmp_path / "run", tmp_path / "app", trusted=["examples"])
    slabs = stand_in / "slabs"
    with apps.App(tmp_path / "app") as app:
        assert app.inspect().trusted == ()
        assert app.inspect().trusted_to_train == ()  # `data` take the place of ours
        assert app.inspect().max_tta == 1
        case = slabs / "test_front"
        result = app.pipeline(
            case / "t1.nii.gz",
            {
                "tissue": case / "tissue.nii.gz",
                "tissue_by_threshold": case / "tissue_by_threshold.nii.gz",
            },
            out=tmp_path / "out",
            tta=1,
            with_uncertainty=True,
        )
    assert 0 < result.values["overall"]["dice_by_threshold/mean"] < 1
    before = volumes.info(case / "t1.nii.gz")
    for file in result.files[:-1]:
        after = volumes.info(result.path(file))
        assert after.shape == before.shape
