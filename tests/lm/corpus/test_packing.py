"""Packing and windows: what stands in a row, nothing lost, same rows again."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kauldron import kd

_KEYS = {"tokens", "targets", "positions", "segment_ids", "loss_mask"}
_LENGTHS = st.lists(st.integers(1, 40), min_size=1, max_size=30)


def _documents(lengths):
    """Documents whose tokens all differ: 1, 2, 3, ..."""
    ends = np.cumsum(lengths)
    return [
        {"tokens": np.arange(e - n + 1, e + 1)}
        for e, n in zip(ends, lengths, strict=True)
    ]


def _pack(lengths, **options):
    return kd.lm.Pack(**options).map_chunk(_documents(lengths))


def _learnt(rows):
    """All pairs of a token and the target that is learnt from it."""
    return sorted(
        (int(t), int(g))
        for row in rows
        for t, g, m in zip(row["tokens"], row["targets"], row["loss_mask"], strict=True)
        if m
    )


def _neighbours(lengths):
    return sorted(
        (int(a), int(b))
        for doc in _documents(lengths)
        for a, b in zip(doc["tokens"][:-1], doc["tokens"][1:], strict=True)
    )


def test_a_row_is_documents_then_padding():
    (row,) = _pack([3, 2], length=8)
    expected = {
        "tokens": [1, 2, 3, 4, 5, 0, 0, 0],
        "targets": [2, 3, 0, 5, 0, 0, 0, 0],
        "positions": [0, 1, 2, 0, 1, 0, 0, 0],
        "segment_ids": [1, 1, 1, 2, 2, 0, 0, 0],
        "loss_mask": [1, 1, 0, 1, 0, 0, 0, 0],
    }
    assert row.keys() == expected.keys() == _KEYS
    for key, values in expected.items():
        assert row[key].tolist() == values, key
        assert row[key].dtype == (np.float32 if key == "loss_mask" else np.int32)


def test_only_what_the_mask_of_a_document_says_is_learnt():
    document = {"tokens": [7, 8, 9, 10], "loss_mask": [True, False, True, True]}
    (row,) = kd.lm.Pack(length=4).map_chunk([document])
    # Of target 8 the mask is false; the first token is nobody's target.
    assert row["loss_mask"].tolist() == [0, 1, 1, 0]


def test_concat_split_cuts_at_the_ends_of_rows_and_learns_across_the_cut():
    rows = _pack([3, 4], length=5, method="concat_split")
    assert [r["tokens"].tolist() for r in rows] == [[1, 2, 3, 4, 5], [6, 7, 0, 0, 0]]
    assert [r["targets"].tolist() for r in rows] == [[2, 3, 0, 5, 6], [7, 0, 0, 0, 0]]
    assert [r["positions"].tolist() for r in rows] == [[0, 1, 2, 0, 1], [0, 1, 0, 0, 0]]
    assert [r["segment_ids"].tolist() for r in rows] == [
        [1, 1, 1, 2, 2],
        [1, 1, 0, 0, 0],
    ]


@pytest.mark.parametrize("method", ["best_fit", "concat_split"])
@given(lengths=_LENGTHS, length=st.integers(1, 16))
@settings(deadline=None, max_examples=60)
def test_every_token_is_in_one_row_and_every_target_is_learnt_once(
    method, lengths, length
):
    rows = _pack(lengths, length=length, method=method)
    tokens = np.concatenate([row["tokens"][row["segment_ids"] > 0] for row in rows])
    assert sorted(tokens.tolist()) == list(range(1, sum(lengths) + 1))
    assert _learnt(rows) == _neighbours(lengths)
    if method == "concat_split":
        assert len(rows) == -(-sum(lengths) // length)


@given(lengths=st.lists(st.integers(1, 20), min_size=1, max_size=40))
@settings(deadline=None, max_examples=60)
def test_best_fit_keeps_documents_whole_and_needs_few_rows(lengths):
    rows = _pack(lengths, length=20)
    for row in rows:
        ids = row["segment_ids"]
        for segment in range(1, ids.max() + 1):
            tokens = row["tokens"][ids == segment]
            assert any(np.array_equal(tokens, d["tokens"]) for d in _documents(lengths))
    # Johnson's bound: 11/9 of the best, and the best is no less than the volume.
    assert (
        len(rows)
        <= 11 / 9 * max(-(-sum(lengths) // 20), sum(x > 10 for x in lengths)) + 1
    )


@given(lengths=_LENGTHS, length=st.integers(2, 12), data=st.data())
@settings(deadline=None, max_examples=60)
def test_windows_learn_every_target_once_with_context(lengths, length, data):
    stride = data.draw(st.integers(1, length))
    rows = kd.lm.Window(length=length, stride=stride).map_chunk(_documents(lengths))
    assert _learnt(rows) == _neighbours(lengths)
    for row in rows:
        learnt = np.flatnonzero(row["loss_mask"])
        is_first = row["tokens"][0] - 1 in np.cumsum([0, *lengths])
        if len(learnt) and not is_first:
            # All of its targets but the newest were learnt with more in front.
            assert learnt[0] >= length - stride


def test_windows_begin_where_the_stride_says_and_the_last_ends_with_the_document():
    rows = kd.lm.Window(length=4, stride=3).map_chunk(_documents([9]))
    assert [row["tokens"].tolist() for row in rows] == [
        [1, 2, 3, 4],
        [4, 5, 6, 7],
        [6, 7, 8, 9],
    ]
    assert [row["loss_mask"].tolist() for row in rows] == [
        [1, 1, 1, 1],
        [0, 1, 1, 1],
        [0, 0, 1, 0],
    ]


@pytest.mark.parametrize(
    ("too_long", "kept"), [("keep_start", [1, 2, 3]), ("keep_end", [4, 5, 6])]
)
def test_what_is_cut_off_is_counted_and_told(too_long, kept, capsys):
    from kauldron.lm.corpus import _lengths

    _lengths._told.clear()
    rows = _pack([6, 2], length=3, too_long=too_long)
    assert [row["tokens"].tolist() for row in rows] == [kept, [7, 8, 0]]
    assert [int(row["num_truncated"]) for row in rows] == [3, 0]
    told = capsys.readouterr()
    assert "1 of the first 2 documents are longer than 3 tokens: 3 tokens" in (
        told.out + told.err
    )


@pytest.mark.parametrize(
    ("act", "words"),
    [
        (lambda: kd.lm.Pack(length=0), "`length` must be at least 1: got 0"),
        (lambda: kd.lm.Pack(length=4, method="bestfit"), "Did you mean 'best_fit'"),
        (
            lambda: kd.lm.Pack(length=4, method="concat_split", too_long="error"),
            "must be 'split': got 'error'",
        ),
        (
            lambda: _pack([2, 9], length=4, too_long="error"),
            "document 1 of the chunk has 9 tokens, more than the 4 of a row",
        ),
        (lambda: kd.lm.Pack(length=4).map_chunk([{"tokens": []}]), "has no tokens"),
        (
            lambda: kd.lm.Pack(length=4).map_chunk([{"text": "a"}]),
            r"got the keys \['text'\]",
        ),
        (
            lambda: kd.lm.Pack(length=4).map_chunk([{"tokens": [0.5]}]),
            r"`tokens` float64\[1\]",
        ),
        (
            lambda: kd.lm.Pack(length=4).map_chunk(
                [{"tokens": [1], "loss_mask": [1, 1]}]
            ),
            "1 tokens, and a `loss_mask` of shape",
        ),
        (
            lambda: _pack([3, 3], length=4, num_tokens=6),
            "document 1 of the chunk has the token 6: the vocabulary has the ids 0 to 5",
        ),
        (lambda: kd.lm.Window(length=4, stride=5), "`stride` must be between 1 and"),
    ],
)
def test_mistakes_are_told(act, words):
    with pytest.raises(kd.data.DataError, match=words):
        act()


def _pipeline(transform, **options):
    rng = np.random.default_rng(0)
    source = [{"tokens": rng.integers(1, 99, n)} for n in rng.integers(1, 30, 41)]
    options = {"shuffle": True, "batch_size": 2, "seed": 0} | options
    return kd.data.py.DataSource(source, transforms=[transform], **options)


@pytest.mark.parametrize(
    "transform",
    [
        kd.lm.Pack(length=16, chunk_size=8),
        kd.lm.Pack(length=16, chunk_size=8, method="concat_split"),
        kd.lm.Window(length=16, stride=9, chunk_size=4),
    ],
    ids=["best fit", "concat split", "window"],
)
def test_pipelines_go_on_exactly_where_they_were(transform):
    kd.testing.check_pipeline(
        lambda: _pipeline(transform, num_epochs=1), num_batches=40
    )
    kd.testing.check_pipeline(lambda: _pipeline(transform), num_batches=6)


def test_the_position_of_a_packed_pipeline_is_three_numbers():
    with iter(_pipeline(kd.lm.Pack(length=16))) as batches:
        next(batches)
        assert batches.get_state().keys() == {"next_example", "num_examples", "seed"}
