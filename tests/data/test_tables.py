"""Tables in files: every format says the same, and what one cannot hold is told."""

from __future__ import annotations

import numpy as np
import pytest

from kauldron import kd

SUFFIXES = ["csv", "tsv", "parquet", "h5", "npz", "jsonl"]

SIMPLE = {
    "count": np.array([3, -1, 2**40]),
    "size": np.array([0.1, 1e-300, np.nan]),
    "name": np.array(["a,b", 'qu"o\nte', "ünï"]),
}


def _assert_equal(got, expected):
    assert list(got) == list(expected)
    for name, values in expected.items():
        if values.dtype.kind in "US":
            assert got[name].tolist() == values.tolist()
        else:
            np.testing.assert_array_equal(got[name], values)
            assert got[name].dtype == values.dtype


@pytest.mark.parametrize("second", SUFFIXES)
@pytest.mark.parametrize("first", SUFFIXES)
def test_a_table_that_goes_through_two_formats_is_the_same(tmp_path, first, second):
    # CSV has no NaN that is not a word: it is read as one.
    kd.data.write_table(tmp_path / f"a.{first}", SIMPLE)
    middle = kd.data.read_table(tmp_path / f"a.{first}")
    kd.data.write_table(tmp_path / f"b.{second}", middle)
    got = kd.data.read_table(tmp_path / f"b.{second}")
    _assert_equal({name: got[name] for name in SIMPLE}, SIMPLE)


@pytest.mark.parametrize("suffix", ["parquet", "h5", "npz", "jsonl"])
def test_rows_with_axes_keep_their_shape(tmp_path, suffix):
    columns = {"image": np.arange(24, dtype=np.int64).reshape(2, 3, 4)}
    kd.data.write_table(tmp_path / f"a.{suffix}", columns)
    _assert_equal(kd.data.read_table(tmp_path / f"a.{suffix}"), columns)


def test_nested_objects_and_groups_are_columns_with_dots(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"a": {"b": 1, "c": "x"}}\n{"a": {"b": 2.5}}\n')
    got = kd.data.read_table(tmp_path / "a.jsonl")
    assert got["a.b"].tolist() == [1.0, 2.5]
    assert got["a.c"].tolist() == ["x", None]
    kd.data.write_table(tmp_path / "b.parquet", got)
    assert kd.data.read_table(tmp_path / "b.parquet")["a.c"].tolist() == ["x", None]
    kd.data.write_table(tmp_path / "c.h5", {"a.b": got["a.b"]})
    assert list(kd.data.read_table(tmp_path / "c.h5")) == ["a.b"]


def test_inspection_tells_numbers_texts_and_what_is_missing(tmp_path):
    columns = {
        "x": np.array([1.0, 2.0, 4.0, np.nan]),
        "kind": np.array(["cat", "dog", "cat", ""]),
        "image": np.full((4, 2, 2), 200, np.uint8),
    }
    kd.data.write_table(tmp_path / "a.npz", columns)
    summary = kd.data.inspect_table(tmp_path / "a.npz")
    x, kind, image = summary.columns
    assert (x.num_missing, x.num_distinct, x.low, x.high) == (1, 3, 1.0, 4.0)
    assert x.mean == pytest.approx(7 / 3)
    assert x.std == pytest.approx(np.std([1, 2, 4]))
    assert (kind.dtype, kind.num_missing, kind.frequent) == (
        "text",
        1,
        (("cat", 2), ("dog", 1)),
    )
    assert (image.shape, image.mean) == ((2, 2), 200.0)  # bytes would overflow
    lines = str(summary).splitlines()
    assert "NPZ, 4 rows, 3 columns" in lines[0]
    assert lines[4].split() == [
        "kind",
        "text",
        "-",
        "1",
        "2",
        "cat",
        "(2),",
        "dog",
        "(1)",
    ]


def test_a_folder_is_told_file_by_file_and_damage_does_not_end_it(tmp_path):
    (tmp_path / "sub").mkdir()
    kd.data.write_table(tmp_path / "sub" / "a.csv", SIMPLE)
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 not")
    (tmp_path / "bad.h5").write_bytes(b"no")
    (tmp_path / "x.png").write_bytes(b"12345")
    summary = kd.data.summarise_folder(tmp_path)
    assert [(t.format, t.num_rows) for t in summary.tables] == [("CSV", 3)]
    assert set(summary.problems) == {"bad.parquet", "bad.h5"}
    assert summary.others == {".png": (1, 5)}
    assert "sub/a.csv  CSV" in str(summary)


@pytest.mark.parametrize(
    ("name", "columns", "message"),
    [
        ("a.csv", {"x": np.zeros((2, 3))}, r"'x' has rows of shape \(3,\)"),
        ("a.npz", {"x": np.array(["a", None], object)}, "several kinds"),
        ("a.jsonl", {"x": np.array([1.0, np.inf])}, "row 2"),
        ("a.xlsx", {"x": np.zeros(2)}, "ends with .csv"),
    ],
)
def test_what_a_format_cannot_hold_is_named_and_nothing_is_written(
    tmp_path, name, columns, message
):
    with pytest.raises(kd.data.DataError, match=message):
        kd.data.write_table(tmp_path / name, columns)
    assert not list(tmp_path.iterdir())


def test_files_are_replaced_only_if_that_is_said(tmp_path):
    kd.data.write_table(tmp_path / "a.csv", {"x": np.array([1])})
    with pytest.raises(kd.data.DataError, match="exists"):
        kd.data.write_table(tmp_path / "a.csv", {"x": np.array([2])})
    kd.data.write_table(tmp_path / "a.csv", {"x": np.array([2])}, overwrite=True)
    assert kd.data.read_table(tmp_path / "a.csv")["x"].tolist() == [2]


def test_arrays_of_unequal_lengths_and_files_that_are_not_there_are_named(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.zeros(2), y=np.zeros(3))
    with pytest.raises(kd.data.DataError, match="no common number of rows"):
        kd.data.read_table(tmp_path / "a.npz")
    np.savez(tmp_path / "o.npz", x=np.array([{}]))
    with pytest.raises(kd.data.DataError, match="Python objects"):
        kd.data.read_table(tmp_path / "o.npz")  # pickles are refused
    with pytest.raises(kd.data.DataError, match=r"b\.csv"):
        kd.data.read_table(tmp_path / "b.csv")
    (tmp_path / "l.jsonl").write_text("[1]\n")
    with pytest.raises(kd.data.DataError, match="each line of a table is an object"):
        kd.data.read_table(tmp_path / "l.jsonl")
