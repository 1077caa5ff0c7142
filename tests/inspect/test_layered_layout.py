"""Boxes in layers: below what they follow, never over each other, arrows beside them."""

from __future__ import annotations

import itertools

import hypothesis
import pytest
from hypothesis import strategies as st

from kauldron.inspect import _layered_layout
from kauldron.inspect._layered_layout import Size


@st.composite
def graphs(draw):
    num = draw(st.integers(1, 12))
    sizes = {
        f"n{i}": Size(draw(st.integers(20, 200)), draw(st.integers(10, 80)))
        for i in range(num)
    }
    pairs = list(itertools.combinations(sizes, 2))
    edges = draw(st.lists(st.sampled_from(pairs), max_size=20)) if pairs else []
    return sizes, list(dict.fromkeys(edges))


def check_readable(sizes, edges):
    layout = _layered_layout.layered(sizes, edges)
    boxes = {
        n: (p.x, p.y, p.x + sizes[n].width, p.y + sizes[n].height)
        for n, p in layout.corners.items()
    }
    for (left, top, right, bottom), (
        left2,
        top2,
        right2,
        bottom2,
    ) in itertools.combinations(boxes.values(), 2):
        assert right <= left2 or right2 <= left or bottom <= top2 or bottom2 <= top
    for left, top, right, bottom in boxes.values():
        assert left >= -1e-6
        assert top >= 0
        assert right <= layout.size.width + 1e-6
        assert bottom <= layout.size.height + 1e-6
    for (start, end), route in zip(edges, layout.routes, strict=True):
        xs, ys = zip(*route, strict=True)
        assert list(ys) == sorted(ys)
        assert ys[0] == boxes[start][3]
        assert ys[-1] == boxes[end][1]
        assert boxes[start][0] <= xs[0] <= boxes[start][2]
        assert boxes[end][0] <= xs[-1] <= boxes[end][2]
        # Where it runs straight, in the layers it passes, it runs through no box.
        for a, b in zip(route[2:-1:2], route[3:-1:2], strict=True):
            assert a.x == b.x
            for left, top, right, bottom in boxes.values():
                assert not (left < a.x < right and top < b.y and a.y < bottom)
    return layout


@hypothesis.given(graphs())
@hypothesis.settings(max_examples=50)
def test_any_graph_is_readable(graph):
    check_readable(*graph)


def size_of(names):
    return dict.fromkeys(names, Size(60, 30))


def test_chain_is_straight():
    layout = check_readable(size_of("abcd"), list(itertools.pairwise("abcd")))
    assert len({p.x for p in layout.corners.values()}) == 1
    assert [layout.corners[n].y for n in "abcd"] == [0, 66, 132, 198]


def test_crossing_that_can_be_avoided_is_avoided():
    edges = [("a", "y"), ("b", "x"), ("c", "z")]
    corners = check_readable(size_of("abcxyz"), edges).corners
    for upper, lower in edges:
        assert corners[upper].x == pytest.approx(corners[lower].x)


def test_source_stands_right_above_what_reads_it():
    edges = [("a", "b"), ("b", "c"), ("late", "c")]
    corners = check_readable(size_of(["a", "b", "c", "late"]), edges).corners
    assert corners["late"].y == corners["b"].y


def test_long_arrows_run_straight():
    chain = [f"n{i}" for i in range(20)]
    edges = [*itertools.pairwise(chain), ("n0", "n19")]
    layout = check_readable(size_of(chain), edges)
    xs = {round(p.x, 1) for p in layout.routes[-1][2:-1]}
    assert max(xs) - min(xs) < 5


def test_spread_is_the_nearest_that_keeps_the_distances():
    # By hand: 1 and 2 want less than 4 apart, so both give way by 1.5.
    assert _layered_layout._spread([1, 2, 9], [1, 1, 1], [4, 3]) == [-0.5, 3.5, 9]
    assert _layered_layout._spread([0, 0], [3, 1], [4]) == [-1, 3]


def test_nothing_has_no_size():
    assert _layered_layout.layered({}, []).size == Size(0, 0)
