"""Sources: files, TFDS, mixtures."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
from PIL import Image

from kauldron import kd

_RNG = np.random.default_rng(0)


def _all(ds):
    batches = list(ds.for_evaluation())
    return {k: np.concatenate([b[k] for b in batches]) for k in batches[0]}


def _one_pass(cls, *args, **kwargs):
    return cls(*args, shuffle=False, batch_size=4, num_epochs=1, seed=0, **kwargs)


def test_json_list_and_lines_give_the_same(tmp_path):
    records = [{"x": i, "v": [i, i + 1]} for i in range(6)]
    (tmp_path / "a.json").write_text(json.dumps(records))
    (tmp_path / "b.jsonl").write_text("\n".join(map(json.dumps, records)))
    for name in ("a.json", "b.jsonl"):
        actual = _all(_one_pass(kd.data.py.Json, tmp_path / name))
        np.testing.assert_array_equal(actual["x"], np.arange(6))
        np.testing.assert_array_equal(actual["v"][:, 1], np.arange(1, 7))


def test_damaged_json_says_which_line(tmp_path):
    (tmp_path / "b.jsonl").write_text('{"x": 1}\n{"x": \n')
    with pytest.raises(ValueError, match=r"b\.jsonl, line 2 is no JSON"):
        iter(_one_pass(kd.data.py.Json, tmp_path / "b.jsonl"))


def test_missing_file_says_what_is_there(tmp_path):
    (tmp_path / "train.json").write_text("[1]")
    with pytest.raises(ValueError, match=r"no .*trian.json.*mean 'train.json'\?"):
        iter(_one_pass(kd.data.py.Json, tmp_path / "trian.json"))


@pytest.mark.parametrize("kind", ["npz", "npz_compressed", "folder", "npy"])
def test_numpy_files(tmp_path, kind):
    arrays = {"image": _RNG.normal(size=(10, 3, 2)), "label": np.arange(10)}
    path = tmp_path / "data.npz"
    if kind == "npz":
        np.savez(path, **arrays)
    elif kind == "npz_compressed":
        np.savez_compressed(path, **arrays)
    elif kind == "npy":
        path = tmp_path / "image.npy"
        np.save(path, arrays["image"])
    else:
        path = tmp_path / "folder"
        path.mkdir()
        for name, array in arrays.items():
            np.save(path / name, array)
    actual = _all(_one_pass(kd.data.py.NumpyArrays, path))
    for key, array in actual.items():
        np.testing.assert_array_equal(array, arrays[key], strict=True)


def test_uncompressed_numpy_files_are_mapped(tmp_path):
    np.savez(tmp_path / "data.npz", x=np.zeros((10, 3)))
    source = kd.data.py.NumpyArrays(tmp_path / "data.npz", shuffle=True).data_source
    assert isinstance(source._reader._arrays["x"], np.memmap)


def test_truncated_npz_is_reported(tmp_path):
    np.savez(tmp_path / "data.npz", x=np.zeros((1000, 3)))
    whole = (tmp_path / "data.npz").read_bytes()
    (tmp_path / "data.npz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"data\.npz cannot be read"):
        iter(_one_pass(kd.data.py.NumpyArrays, tmp_path / "data.npz"))


def test_unequal_lengths_are_reported(tmp_path):
    np.savez(tmp_path / "data.npz", x=np.zeros(3), y=np.zeros(4))
    with pytest.raises(ValueError, match=r"equally many rows.*'x': 3, 'y': 4"):
        iter(_one_pass(kd.data.py.NumpyArrays, tmp_path / "data.npz"))


def test_parquet_columns(tmp_path):
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    vectors = _RNG.normal(size=(7, 3)).astype(np.float32)
    table = pa.table(
        {
            "x": np.arange(7),
            "v": pa.FixedSizeListArray.from_arrays(vectors.ravel(), 3),
            "tokens": [list(range(i)) for i in range(7)],
            "text": [f"t{i}" for i in range(7)],
        }
    )
    pq.write_table(table.slice(0, 4), tmp_path / "a-0.parquet")
    pq.write_table(table.slice(4), tmp_path / "a-1.parquet")
    pad = kd.data.PadOrTruncateTokens(key="tokens", length=4, pad_id=-1)
    actual = _all(
        _one_pass(kd.data.py.Parquet, tmp_path / "a-*.parquet", transforms=[pad])
    )
    np.testing.assert_array_equal(actual["x"], np.arange(7))
    np.testing.assert_array_equal(actual["v"], vectors, strict=True)
    np.testing.assert_array_equal(actual["tokens"][2], [0, 1, -1, -1])
    np.testing.assert_array_equal(actual["tokens"][6], [0, 1, 2, 3])
    assert actual["text"].tolist() == [f"t{i}" for i in range(7)]
    with pytest.raises(KeyError, match=r"no key 'txet'. Did you mean 'text'"):
        iter(_one_pass(kd.data.py.Parquet, tmp_path / "a-*.parquet", columns=["txet"]))


def test_array_record_files(tmp_path):
    from array_record.python import array_record_module

    for part in range(2):
        writer = array_record_module.ArrayRecordWriter(
            str(tmp_path / f"d-{part}.array_record"), "group_size:1"
        )
        for i in range(3 + part):
            writer.write(np.int64([part, i]).tobytes())
        writer.close()
    ds = _one_pass(
        kd.data.py.ArrayRecord,
        tmp_path / "d-*.array_record",
        transforms=[lambda record: {"x": np.frombuffer(record, np.int64)}],
    )
    actual = _all(ds)["x"].tolist()
    assert actual == [[0, 0], [0, 1], [0, 2], [1, 0], [1, 1], [1, 2], [1, 3]]
    with pytest.raises(ValueError, match="No file matches"):
        iter(_one_pass(kd.data.py.ArrayRecord, tmp_path / "x-*.array_record"))


def _write_images(folder, num_per_class):
    pixels = {}
    for name in ("cat", "dog"):
        (folder / name).mkdir(parents=True)
        for i in range(num_per_class):
            image = _RNG.integers(0, 256, (5, 4, 3), dtype=np.uint8)
            Image.fromarray(image).save(folder / name / f"{i}.png")
            pixels[name, i] = image
    return pixels


def test_image_folder(tmp_path):
    pixels = _write_images(tmp_path, 3)
    ds = _one_pass(kd.data.py.ImageFolder, tmp_path)
    actual = _all(ds)
    assert ds.class_names == ["cat", "dog"]
    assert actual["label"].tolist() == [0, 0, 0, 1, 1, 1]
    np.testing.assert_array_equal(actual["image"][4], pixels["dog", 1], strict=True)


def test_image_that_does_not_decode_is_named_or_skipped(tmp_path):
    _write_images(tmp_path, 3)
    (tmp_path / "dog" / "1.png").write_bytes(b"no picture")
    ds = _one_pass(kd.data.py.ImageFolder, tmp_path)
    with pytest.raises(ValueError, match=r"dog.1\.png cannot be decoded") as e:
        _all(ds)
    assert "example 4" in e.value.__notes__[0]
    skipping = _one_pass(kd.data.py.ImageFolder, tmp_path, max_bad_records=1)
    assert _all(skipping)["label"].tolist() == [0, 0, 0, 1, 1]


def _png(image):
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="png")
    return io.BytesIO(buffer.getvalue())


@pytest.fixture(scope="module")
def tfds_folder(tmp_path_factory):
    import tensorflow_datasets as tfds

    images = _RNG.integers(0, 256, (10, 6, 6, 3), dtype=np.uint8)

    class Pictures(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tfds.core.Version("1.0.0")
        name = "pictures"

        def _info(self):
            features = {
                "image": tfds.features.Image(shape=(6, 6, 3), encoding_format="png"),
                "label": tfds.features.ClassLabel(num_classes=10),
            }
            return tfds.core.DatasetInfo(
                builder=self, features=tfds.features.FeaturesDict(features)
            )

        def _split_generators(self, manager):
            return {"train": self._generate_examples()}

        def _generate_examples(self):
            for i, image in enumerate(images):
                yield i, {"image": _png(image), "label": i}

    builder = Pictures(
        data_dir=str(tmp_path_factory.mktemp("tfds")), file_format="array_record"
    )
    builder.download_and_prepare(file_format="array_record")
    return str(builder.data_dir), images


def test_tfds_reads_pictures_without_tensorflow(tfds_folder):
    import sys

    folder, images = tfds_folder
    actual = _all(_one_pass(kd.data.py.Tfds, folder, split="train"))
    np.testing.assert_array_equal(actual["image"], images[actual["label"]], strict=True)
    assert sorted(actual["label"].tolist()) == list(range(10))
    part = _all(_one_pass(kd.data.py.Tfds, folder, split="train[:30%]"))
    np.testing.assert_array_equal(part["label"], actual["label"][:3])
    assert "tensorflow" not in sys.modules


def test_tfds_of_a_registered_name():
    import tensorflow_datasets as tfds

    with tfds.testing.mock_data(num_examples=7):
        ds = _one_pass(kd.data.py.Tfds, "mnist", split="train")
        actual = _all(ds)
    assert actual["image"].shape == (7, 28, 28, 1)
    assert actual["image"].dtype == np.uint8
    assert ((actual["label"] >= 0) & (actual["label"] < 10)).all()


@pytest.mark.parametrize(
    ("kwargs", "image"),
    [
        ({"split": "train"}, ((4, 28, 28, 1), np.uint8)),
        ({"split": "train[10:20%]", "shuffle": True}, ((4, 28, 28, 1), np.uint8)),
        (
            {"split": "test", "transforms": [kd.data.py.SliceDataset(59_000)]},
            ((4, 28, 28, 1), np.uint8),
        ),
        (
            {"split": "test", "transforms": [kd.data.Cast(key="image", dtype="f4")]},
            ((4, 28, 28, 1), np.float32),
        ),
    ],
)
def test_tfds_that_is_missing_can_be_made_up(tmp_path, kwargs, image):
    options = {"shuffle": False, "seed": 0, "batch_size": 4, "data_dir": tmp_path}
    with kd.data.py.made_up_tfds():
        spec = kd.data.py.Tfds("mnist", **options | kwargs).element_spec
    assert (spec["image"].shape, np.dtype(spec["image"].dtype)) == image
    assert spec["label"].shape == (4,)
    assert not list(tmp_path.iterdir())


def test_tfds_that_is_there_is_not_made_up(tfds_folder):
    folder, _ = tfds_folder
    with kd.data.py.made_up_tfds():
        actual = _all(_one_pass(kd.data.py.Tfds, folder, split="train"))
    assert sorted(actual["label"].tolist()) == list(range(10))


def test_tfds_that_is_not_prepared_says_what_to_do(tmp_path):
    ds = _one_pass(kd.data.py.Tfds, "no_such_set", split="train", data_dir=tmp_path)
    with pytest.raises(ValueError, match="no TFDS dataset 'no_such_set'"):
        iter(ds)


def test_huggingface_without_the_package_names_the_extra():
    try:
        import datasets  # noqa: F401 (a module of that name decides)
    except ImportError:
        ds = _one_pass(kd.data.py.HuggingFace, "x", split="train")
        with pytest.raises(ImportError, match=r"kauldron\[huggingface\]"):
            iter(ds)


def _numbers(start, length, **kwargs):
    return kd.data.py.DataSource(
        {"x": np.arange(start, start + length)}, shuffle=False, **kwargs
    )


def _xs(ds):
    return [int(x) for batch in ds for x in batch["x"].ravel()]


def test_mix_alternates_in_proportion_to_the_weights():
    members = [_numbers(0, 100), _numbers(100, 100)]
    common = {"batch_size": 4, "seed": 0, "num_epochs": 1, "shuffle": False}
    assert _xs(kd.data.py.Mix(members, **common))[:6] == [0, 100, 1, 101, 2, 102]
    weighted = _xs(kd.data.py.Mix(members, weights=[0.75, 0.25], **common))
    for num in range(1, len(weighted) + 1):
        num_first = sum(x < 100 for x in weighted[:num])
        assert abs(num_first - 0.75 * num) <= 1


def test_mix_ends_with_its_first_exhausted_member():
    ds = kd.data.py.Mix(
        [_numbers(0, 10), _numbers(100, 4)],
        shuffle=False,
        num_epochs=1,
        batch_size=1,
        seed=0,
    )
    assert _xs(ds) == [0, 100, 1, 101, 2, 102, 3, 103, 4]


def test_all_examples_of_every_member_come_up_in_time():
    ds = kd.data.py.Mix(
        [_numbers(0, 10), _numbers(100, 4)],
        batch_size=1,
        seed=0,
        num_epochs=3,
    )
    assert set(_xs(ds)) == set(range(10)) | set(range(100, 104))


def test_members_keep_their_transforms_and_the_mixture_adds_its_own():
    member = _numbers(0, 4, transforms=[lambda e: {"x": e["x"] + 1000}])
    ds = kd.data.py.Mix(
        [member, _numbers(100, 4)],
        shuffle=False,
        batch_size=2,
        num_epochs=1,
        seed=0,
        transforms=[kd.data.Cast(key="x", dtype="float32")],
    )
    batch = next(iter(ds))
    np.testing.assert_array_equal(batch["x"], np.float32([1000, 100]), strict=True)


def test_members_draw_different_numbers():
    member = kd.data.py.DataSource(np.arange(50), shuffle=True, transforms=[_as_x])
    ds = kd.data.py.Mix(
        [member, member], shuffle=False, batch_size=100, num_epochs=1, seed=0
    )
    xs = _xs(ds)
    assert xs[0::2] != xs[1::2]
    assert sorted(xs[0::2]) == sorted(xs[1::2]) == list(range(50))


def _as_x(value):
    return {"x": value}


def test_members_with_other_keys_are_reported():
    other = kd.data.py.DataSource({"y": np.arange(4)}, shuffle=False)
    ds = kd.data.py.Mix([_numbers(0, 4), other], batch_size=2, seed=0)
    with pytest.raises(
        ValueError, match=r"same keys: dataset 0 has \['x'\], dataset 1 \['y'\]"
    ):
        iter(ds)


@pytest.mark.parametrize(
    ("weights", "message"),
    [([1.0], "1 numbers for 2 datasets"), ([1, 0], "must be positive")],
)
def test_bad_weights_are_reported_at_construction(weights, message):
    with pytest.raises(ValueError, match=message):
        kd.data.py.Mix([_numbers(0, 4), _numbers(0, 4)], weights=weights)


def test_select_follows_its_table():
    ds = kd.data.py.SelectFromDatasets(
        [_numbers(0, 10), _numbers(100, 10)],
        selection_map=[(1, 3), (0, 0), (1, 3), (0, 7)],
        shuffle=False,
        batch_size=2,
        num_epochs=1,
        seed=0,
    )
    assert _xs(ds) == [103, 0, 103, 7]


def test_slices_are_fixed_and_disjoint_in_every_epoch():
    def part(*args):
        return kd.data.py.DataSource(
            {"x": np.arange(20)},
            shuffle=True,
            batch_size=4,
            num_epochs=3,
            seed=0,
            batch_drop_remainder=False,
            transforms=[kd.data.py.SliceDataset(*args)],
        )

    assert set(_xs(part(12))) == set(range(12))
    assert set(_xs(part(12, None))) == set(range(12, 20))
    assert set(_xs(part(1, None, 5))) == {1, 6, 11, 16}
    with pytest.raises(ValueError, match="leaves none of the 20 examples"):
        iter(part(20, None))


def test_huggingface_reads_local_pictures(tmp_path, monkeypatch):
    pytest.importorskip("datasets", reason="an extra")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    pixels = _write_images(tmp_path / "pictures", 2)
    ds = _one_pass(
        kd.data.py.HuggingFace,
        "imagefolder",
        split="train",
        data_dir=str(tmp_path / "pictures"),
        cache_dir=str(tmp_path / "cache"),
    )
    actual = _all(ds)
    assert actual["label"].tolist() == [0, 0, 1, 1]
    np.testing.assert_array_equal(actual["image"][3], pixels["dog", 1], strict=True)


@pytest.mark.slow
def test_workers_open_the_files_again(tmp_path, tfds_folder):
    from array_record.python import array_record_module

    writer = array_record_module.ArrayRecordWriter(
        str(tmp_path / "d.array_record"), "group_size:1"
    )
    for i in range(8):
        writer.write(np.int64([i]).tobytes())
    writer.close()
    np.savez(tmp_path / "data.npz", x=np.arange(8))
    _write_images(tmp_path / "pictures", 4)
    pipelines = [
        _one_pass(
            kd.data.py.ArrayRecord,
            tmp_path / "d.array_record",
            transforms=[lambda record: {"x": np.frombuffer(record, np.int64)}],
        ),
        _one_pass(kd.data.py.NumpyArrays, tmp_path / "data.npz"),
        _one_pass(kd.data.py.ImageFolder, tmp_path / "pictures"),
        _one_pass(kd.data.py.Tfds, tfds_folder[0], split="train"),
    ]
    for ds in pipelines:
        expected = list(ds)
        with iter(ds.replace(num_workers=1)) as batches:
            for actual, batch in zip(batches, expected, strict=True):
                for key in batch:
                    np.testing.assert_array_equal(actual[key], batch[key])


def test_a_path_that_does_not_exist_is_told_with_the_nearest_name_there(tmp_path):
    for i in range(12):
        (tmp_path / f"a{i:02}.csv").touch()
    (tmp_path / "train.csv").touch()
    (tmp_path / "empty").mkdir()

    def message(path):
        with pytest.raises(ValueError, match="There is no") as error:
            _ = kd.data.py.Csv(tmp_path / path, shuffle=False).element_spec
        return str(error.value)

    assert "Did you mean 'train.csv'?" in message("trian.csv")
    assert message("trian.csv").count("a09.csv', and 4 more.") == 1
    assert message("empty/x.csv").endswith("Its folder has nothing.")
    assert message("nowhere/x.csv").endswith("Nor is there its folder.")
