"""One table of values x sources: what comes out, exactly, or what is refused by name."""

from __future__ import annotations

import json

import ml_dtypes
import numpy as np
import pytest

from kauldron import kd


def _batches(cls, *args, batch_size=2, **kwargs):
    options = {"shuffle": False, "num_epochs": 1, "seed": 0}
    return list(cls(*args, batch_size=batch_size, **options, **kwargs).for_evaluation())


def _column(batches, key="x"):
    dtypes = {str(batch[key].dtype) for batch in batches}
    (dtype,) = dtypes
    return dtype, [value for batch in batches for value in batch[key].tolist()]


def _from_json(tmp_path, rows, **kwargs):
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return _batches(kd.data.py.Json, path, **kwargs)


def _from_rows(tmp_path, rows, **kwargs):
    return _batches(kd.data.py.DataSource, rows, **kwargs)


def _from_csv(tmp_path, rows, **kwargs):
    path = tmp_path / "a.csv"
    fields = [json.dumps(row["x"], ensure_ascii=False) for row in rows]
    path.write_text("x\n" + "".join(f"{field}\n" for field in fields), "utf-8")
    return _batches(kd.data.py.Csv, path, **kwargs)


_SOURCES = {"json": _from_json, "rows": _from_rows, "csv": _from_csv}
_NAN = float("nan")
_REFUSED = {  # what is wrong, in words of the message
    "two dtypes": r"'x' cannot be batched.*example 3.*example 2",
    "none": r"'x' in example 3 is None",
    "too large": r"'x' in example 3 does not fit into 64 bits: 9223372036854775808",
    "shapes": r"'x' cannot be batched.*\(2,\) in example 2, \(1,\) in example 3",
    "keys": r"same keys: example 2 has \['x'\], example 3 lacks \['x'\]",
    "ragged": r"'x' in example 3 is a ragged list",
}
# Name -> values, and for each source the dtype (values as they are) or what is refused.
_TABLE = {
    "bools": (
        [True, False, True, False],
        {"json": "bool", "rows": "bool", "csv": ["true", "false", "true", "false"]},
    ),
    "whole numbers": (
        [1, 2, -3, 2**63 - 1],
        {"json": "int64", "rows": "int64", "csv": "int64"},
    ),
    "too large": (
        [1, 2, 3, 2**63],
        {
            "json": "too large",
            "rows": "too large",
            "csv": r"line 5: 'x' is 92.*64 bits",
        },
    ),
    "numbers": (
        [0.5, -1e300, float("inf"), 5e-324],
        {"json": "float64", "rows": "float64", "csv": '"Infinity" is no number there'},
    ),
    "both": (
        [1, 2, 3, 0.5],
        {"json": "float64", "rows": "two dtypes", "csv": "float64"},
    ),
    "bools and numbers": (
        [1, 2, 3, True],
        {"json": "two dtypes", "rows": "two dtypes", "csv": ["1", "2", "3", "true"]},
    ),
    "texts": (
        ["a", "ü\u2028\x85", "", "3"],
        {"json": "object", "rows": "object", "csv": "object"},
    ),
    "texts and numbers": (
        [1, 2, 3, "a"],
        {"json": "two dtypes", "rows": "two dtypes", "csv": ["1", "2", "3", "a"]},
    ),
    "numbers and texts": (
        ["a", "b", "c", 1],
        {"json": "two dtypes", "rows": "two dtypes", "csv": ["a", "b", "c", "1"]},
    ),
    "nothing": (
        [1, 2, 3, None],
        {"json": "none", "rows": "none", "csv": ["1", "2", "3", "null"]},
    ),
    "lists": (
        [[1, 2], [3, 4], [5, 6], [7, 8]],
        {"json": "int64", "rows": "int64"},
    ),
    "lists of both": (
        [[1, 2], [3, 4], [5, 6], [7, 0.5]],
        {"json": "float64", "rows": "two dtypes"},
    ),
    "lists of other lengths": (
        [[1, 2], [3, 4], [5, 6], [7]],
        {"json": "shapes", "rows": "shapes"},
    ),
    "ragged lists": (
        [[[1, 2], [3, 4]]] * 3 + [[[1, 2], [3]]],
        {"json": "ragged", "rows": "ragged"},
    ),
}
_CELLS = [(name, source) for name, (_, cells) in _TABLE.items() for source in cells]


@pytest.mark.parametrize(("name", "source"), _CELLS)
def test_values_of_text_formats_and_of_rows(tmp_path, name, source):
    values, cells = _TABLE[name]
    expected, load = cells[source], _SOURCES[source]
    rows = [{"x": value} for value in values]
    if isinstance(expected, list):
        assert _column(load(tmp_path, rows)) == ("object", expected)
    elif name == "numbers" and source == "csv":
        rows[2]["x"] = -0.0  # JSON's word for infinity is another one than that of CSV
        assert _column(load(tmp_path, rows)) == ("float64", [0.5, -1e300, -0.0, 5e-324])
    elif expected in ("bool", "int64", "float64", "object"):
        assert _column(load(tmp_path, rows)) == (expected, values)
    else:
        with pytest.raises(ValueError, match=_REFUSED.get(expected, expected)):
            load(tmp_path, rows)


@pytest.mark.parametrize("source", ["json", "rows"])
def test_a_missing_field_is_an_error_that_says_where(tmp_path, source):
    rows = [{"x": 1}, {"x": 2}, {"x": 3}, {}]
    with pytest.raises(ValueError, match=_REFUSED["keys"]):
        _SOURCES[source](tmp_path, rows)


@pytest.mark.parametrize("other", [0.5, True, "a", None, np.float32(1), np.int32(1)])
def test_a_dtype_that_changes_between_batches_is_an_error(other):
    rows = [{"x": 1}] * 3 + [{"x": other}] * 2
    with pytest.raises(
        ValueError, match=r"'x' (is .*in example 3|in example 3 is None)"
    ):
        _from_rows(None, rows, batch_size=1)


def test_keys_that_change_between_batches_are_an_error():
    rows = [{"x": 1}, {"x": 1, "y": 2}]
    with pytest.raises(ValueError, match=r"example 1 has also \['y'\]"):
        _from_rows(None, rows, batch_size=1)


def test_a_resumed_iterator_knows_the_dtype_of_element_spec():
    source = [{"x": 1}] * 2 + [{"x": 0.5}] * 2
    ds = kd.data.py.DataSource(source, shuffle=False, batch_size=2, seed=0)
    assert str(np.dtype(ds.element_spec["x"].dtype)) == "int64"
    batches = iter(ds)
    batches.set_state({"next_example": 2, "num_examples": 4, "seed": 0})
    with pytest.raises(
        ValueError, match=r"float64 in example 2, and int64.*element_spec"
    ):
        next(batches)


def test_a_filtered_pipeline_names_the_example_whose_dtype_differs():
    rows = [{"x": 1}, {"x": 2}, {"x": 3}, {"x": 0.5}]
    keep = [lambda element: element]

    class Odd(kd.data.FilterTransform):
        def filter(self, element):
            return element["x"] != 2

    with pytest.raises(ValueError, match="'x' is float64 in example 3"):
        _from_rows(None, rows, batch_size=1, transforms=[*keep, Odd()])


def test_a_cast_gives_numbers_of_several_types_one_dtype():
    rows = [{"x": 1}, {"x": 2}, {"x": 0.5}, {"x": True}]
    cast = kd.data.Cast(key="x", dtype="float32")
    assert _column(_from_rows(None, rows, transforms=[cast])) == (
        "float32",
        [1, 2, 0.5, 1],
    )


def test_members_of_a_mixture_have_one_dtype():
    members = [
        kd.data.py.DataSource({"x": np.zeros(4, dtype)}, shuffle=False)
        for dtype in (np.float32, np.float64)
    ]
    ds = kd.data.py.Mix(members, batch_size=4, seed=0)
    with pytest.raises(ValueError, match=r"'x' cannot be batched.*float(32|64)"):
        next(iter(ds))


_DTYPES = ["bool", "uint8", "int8", "uint16", "int32", "uint32", "int64", "uint64"]
_DTYPES += ["float16", "float32", "float64", "complex64", "S3", "U3"]


@pytest.mark.parametrize("kind", ["npz", "folder", "arrays", "loader", "rows"])
@pytest.mark.parametrize("dtype", [*_DTYPES, ">f4", ">i8"])
def test_arrays_come_out_as_they_are(tmp_path, kind, dtype):
    values = np.array([0, 1, 0, 1, 1]).astype(dtype)
    native = values.astype(values.dtype.newbyteorder("="))
    if kind == "npz":
        np.savez(tmp_path / "a.npz", x=values)
        batches = _batches(kd.data.py.NumpyArrays, tmp_path / "a.npz")
    elif kind == "folder":
        np.save(tmp_path / "x.npy", values)
        batches = _batches(kd.data.py.NumpyArrays, tmp_path)
    elif kind == "arrays":
        batches = _batches(kd.data.py.DataSource, {"x": values})
    elif kind == "loader":
        ds = kd.data.InMemoryPipeline(
            loader=lambda: {"x": values}, batch_size=2, num_epochs=1
        )
        batches = list(ds.for_evaluation())
    else:
        batches = _batches(
            kd.data.py.DataSource, [{"x": values[i : i + 1]} for i in range(5)]
        )
        native = native[:, None]
    joined = np.concatenate([batch["x"] for batch in batches])
    np.testing.assert_array_equal(joined, native, strict=True)
    assert {batch["x"].dtype for batch in batches} == {native.dtype}


def test_arrays_of_bfloat16_come_out_in_memory_and_are_refused_from_files(tmp_path):
    values = np.arange(4).astype(ml_dtypes.bfloat16)
    assert _column(_batches(kd.data.py.DataSource, {"x": values})) == (
        "bfloat16",
        [0, 1, 2, 3],
    )
    np.savez(tmp_path / "a.npz", x=values)
    with pytest.raises(ValueError, match=r"V2: raw bytes.*bfloat16"):
        _batches(kd.data.py.NumpyArrays, tmp_path / "a.npz")


def test_arrays_that_are_none_are_refused_by_name(tmp_path):
    structured = np.zeros(3, [("a", "f4")])
    with pytest.raises(ValueError, match="structured"):
        _batches(kd.data.py.DataSource, {"x": structured})
    np.savez(tmp_path / "a.npz", x=np.array([{}, {}]))
    with pytest.raises(ValueError, match=r"a\.npz cannot be read.*Python objects"):
        _batches(kd.data.py.NumpyArrays, tmp_path / "a.npz")
    mixed = np.array(["a", 1], object)
    with pytest.raises(ValueError, match=r"'x' cannot be batched.*example 1"):
        _batches(kd.data.py.DataSource, {"x": mixed})


_BREAKS = ["\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c", "\x1d", "\x1e", "\r"]


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
@pytest.mark.parametrize("has_mark", [False, True])
@pytest.mark.parametrize("ends", [True, False])
def test_lines_of_json_end_at_line_ends_alone(tmp_path, ending, has_mark, ends):
    # Control characters must be escaped in JSON; the others may stand in strings.
    texts = [f"one{c}two" for c in _BREAKS] + [""]
    lines = [json.dumps({"x": t}, ensure_ascii=i % 2 == 1) for i, t in enumerate(texts)]
    lines.insert(2, "")
    content = ending.join(lines) + (ending if ends else "")
    encoding = "utf-8-sig" if has_mark else "utf-8"
    (tmp_path / "a.jsonl").write_bytes(content.encode(encoding))
    assert _column(_batches(kd.data.py.Json, tmp_path / "a.jsonl"))[1] == texts


def test_damaged_text_files_say_which_line(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"x": 1}\n{"x": "\xff"}\n')
    with pytest.raises(ValueError, match=r"a\.jsonl, line 2 is no UTF-8"):
        _batches(kd.data.py.Json, path)
    path.write_text('{"x": 1}\n\n{"x": 1} {"x": 2}\n')
    with pytest.raises(ValueError, match=r"a\.jsonl, line 3 is no JSON"):
        _batches(kd.data.py.Json, path)
    path.write_text("")
    with pytest.raises(
        ValueError, match=r"data source is empty: `Json\('.*a\.jsonl'\)`"
    ):
        _batches(kd.data.py.Json, path)


def test_whole_numbers_that_a_float_does_not_hold_are_not_rounded(tmp_path):
    with pytest.raises(ValueError, match=r"'a.b' is 9007199254740993 in example 1"):
        _from_json(tmp_path, [{"a": {"b": 0.5}}, {"a": {"b": 2**53 + 1}}])


def test_csv_fields_hold_line_ends_and_delimiters(tmp_path):
    path = tmp_path / "a.csv"
    texts = ["one\ntwo", "a,b", 'say "x"', "tail\r\n", "\u2028\x85\x0c", " pad "]
    rows = [
        f'{i},"{t.replace(chr(34), chr(34) * 2)}",{i}.5\r\n'
        for i, t in enumerate(texts)
    ]
    path.write_bytes(("\ufeffid,text,share\r\n\r\n" + "".join(rows)).encode())
    batches = _batches(kd.data.py.Csv, path)
    assert _column(batches, "id") == ("int64", [0, 1, 2, 3, 4, 5])
    assert _column(batches, "text") == ("object", texts)
    assert _column(batches, "share") == ("float64", [0.5, 1.5, 2.5, 3.5, 4.5, 5.5])


@pytest.mark.parametrize(
    ("fields", "dtype", "values"),
    [
        (["1", "+2", "-3"], "int64", [1, 2, -3]),
        (["1", "2.", ".5"], "float64", [1, 2, 0.5]),
        (["1e3", "-inf", "Infinity"], "float64", [1000, -np.inf, np.inf]),
        (["1", "", "3"], "object", ["1", "", "3"]),
        (["1", " 2", "3"], "object", ["1", " 2", "3"]),
        (["1_0", "2", "3"], "object", ["1_0", "2", "3"]),
        (["0x1", "2", "3"], "object", ["0x1", "2", "3"]),
    ],
)
def test_csv_columns_are_numbers_only_if_all_fields_are(
    tmp_path, fields, dtype, values
):
    path = tmp_path / "a.csv"
    path.write_text("x,y\n" + "".join(f"{field},0\n" for field in fields))
    assert _column(_batches(kd.data.py.Csv, path)) == (dtype, values)


@pytest.mark.parametrize(
    ("fields", "dtype", "expected"),
    [
        (["007", "1"], str, ["007", "1"]),
        (["1", "2.5"], "float32", [1, 2.5]),
        (["true", "0"], bool, [True, False]),
        (["18446744073709551615", "0"], "uint64", [2**64 - 1, 0]),
        (["1", "256"], "uint8", "line 3: 'x' is '256', which is no uint8"),
        (["1", "1.5"], "int32", "line 3: 'x' is '1.5', which is no int32"),
        (["1", "1e6"], "float16", "line 3: 'x' is '1e6', which is no float16"),
        (["1", "yes"], bool, "line 3: 'x' is 'yes', which is no bool"),
    ],
)
def test_csv_columns_of_a_given_dtype(tmp_path, fields, dtype, expected):
    path = tmp_path / "a.csv"
    path.write_text("x,y\n" + "".join(f"{field},0\n" for field in fields))
    if isinstance(expected, str):
        with pytest.raises(ValueError, match=expected):
            _batches(kd.data.py.Csv, path, dtypes={"x": dtype})
        return
    name = "object" if dtype is str else str(np.dtype(dtype))
    assert _column(_batches(kd.data.py.Csv, path, dtypes={"x": dtype})) == (
        name,
        expected,
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("x,y\n1,2\n3\n", r"line 3 has 1 fields, the header has 2"),
        ('x,y\n1,2\n"a\nb",2,3\n', r"line 4 has 3 fields"),
        ('x,y\n1,"2\n', r"line 2 is no CSV"),
        ("x,x\n1,2\n", r"two columns of one name: \['x'\]"),
        ("", "is empty: its first line names the columns"),
        ("x,y\n", "data source is empty: `Csv"),
    ],
)
def test_damaged_csv_files_say_where(tmp_path, content, message):
    (tmp_path / "a.csv").write_text(content)
    with pytest.raises(ValueError, match=message):
        _batches(kd.data.py.Csv, tmp_path / "a.csv")


def test_csv_options_name_columns_that_exist(tmp_path):
    (tmp_path / "a.csv").write_text("x;y\n1;2\n")
    batches = _batches(kd.data.py.Csv, tmp_path / "a.csv", delimiter=";")
    assert _column(batches, "y") == ("int64", [2])
    with pytest.raises(KeyError, match="no key 'z'"):
        _batches(kd.data.py.Csv, tmp_path / "a.csv", delimiter=";", dtypes={"z": str})
