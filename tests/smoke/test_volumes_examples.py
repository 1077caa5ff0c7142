"""Examples on volumes train some steps, on a made-up brain that stands in for the real."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.ndimage

from examples import volumes_data, volumes_head_ct
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


@pytest.fixture(scope="module")
def person(tmp_path_factory):
    """A folder with a ball of four regions, two pairs, that is not symmetrical."""
    root, shape = tmp_path_factory.mktemp("ch2"), (32, 32, 32)
    z, _, x = np.indices(shape) - 16
    distance = np.linalg.norm(
        np.indices(shape) - np.array([16, 16, 14])[:, None, None, None], axis=0
    )
    is_left = x >= 0  # x grows to the left
    regions = np.where(distance < 12, 2 - is_left + 2 * (z > 0), 0)
    t1 = (120 * (distance < 12) * (1 + 0.1 * (z > 0))).astype(np.uint8)
    (root / "ch2").mkdir()
    for name, array in (("t1", t1), ("regions", regions.astype(np.uint8))):
        image = kd.volumes.Image(array, kd.volumes.Geometry.make(1.0))
        kd.volumes.write(root / "ch2" / f"{name}.nii.gz", image)
    return root


def test_the_mirror_image_has_left_and_right_changed(person):
    folder = volumes_data.mirrored(person) / "ch2"
    regions, mirror = (
        kd.volumes.read(folder / f"{name}.nii.gz").array[..., 0]
        for name in ("regions", "mirror_regions")
    )
    # The left one of the lower pair lies where x is large, in both.
    for array in (regions, mirror):
        assert (np.argwhere(array == 1)[:, 2].min(), array.max()) == (16, 4)
        assert np.argwhere(array == 2)[:, 2].max() == 15
    np.testing.assert_array_equal(regions > 0, mirror[:, :, ::-1] > 0)


def test_labels_are_carried_to_where_a_field_leads():
    labels = np.arange(24).reshape(1, 2, 3, 4, 1)
    field = np.zeros((1, 2, 3, 4, 3), np.float32)
    field[..., 2] = 1.4
    carried = np.asarray(volumes_data.carried(labels, field))
    np.testing.assert_array_equal(carried, labels[..., [1, 2, 3, 3], :])


def test_regions_are_carried_from_the_mirror_image(person, tmp_path):
    records = train(
        "volumes_atlas",
        tmp_path,
        aux__folder=str(person),
        aux__shape=(16, 16, 16),
        num_train_steps=6,
        log_metrics_every=5,
    )
    first, last = (records["train", step]["losses/difference"] for step in (0, 5))
    assert last < first
    before = records["eval", 0]
    # Nothing moves before training.
    assert before["metrics/dice"] == pytest.approx(before["metrics/dice_before"])


def test_the_bone_of_a_made_up_head_is_measured_in_millimetres(tmp_path, capsys):
    shape, spacing = (28, 44, 44), np.array([1.5, 1.0, 1.0])
    places = (np.indices(shape).T - (np.array(shape) - 1) / 2).T
    radius = np.linalg.norm(places * spacing[:, None, None, None], axis=0)
    head, skull = radius < 18, (radius < 15) & (radius >= 10)
    ct = np.where(skull, 900, np.where(head, 40, -1000)).astype(np.int16)
    ct[:, 42:] = 1000  # the head rest
    geometry = kd.volumes.Geometry.make(
        spacing, direction=[[0, 0, 1], [0, -1, 0], [1, 0, 0]]
    )
    (tmp_path / "head").mkdir()
    for name, array in (("ct", ct), ("bone", ct >= 226), ("skin", ct >= -142)):
        array = array if name == "ct" else array.astype(np.uint8)
        image = kd.volumes.Image(array, geometry)
        kd.volumes.write(tmp_path / "head" / f"{name}.mha", image)
    volumes_head_ct.main(tmp_path / "out", tmp_path)
    lines = capsys.readouterr().out.splitlines()[1:]
    found = {name: float(value) for name, value in map(str.split, lines)}
    shell_ml = 4 / 3 * np.pi * (15**3 - 10**3) / 1000
    assert found["voxels_unlike_the_mask"] == 0
    assert found["bone_ml"] == pytest.approx(shell_ml, rel=0.03)
    assert found["bone_ml_on_cubes"] == pytest.approx(shell_ml, rel=0.08)
    # Half of the skull's surface lies 3 mm below the skin, the other half 8 mm.
    assert 3 < found["surfaces_apart_mm"] < 5.5
    written = kd.volumes.read(tmp_path / "out" / "bone.nii.gz")
    assert written.geometry.is_close(geometry)
    assert (tmp_path / "out" / "soft.png").exists()
