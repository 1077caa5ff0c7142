"""Which names a glob matches, and which name a rule makes of another."""

from __future__ import annotations

import pytest

from kauldron.checkpoints import _source_paths


@pytest.mark.parametrize(
    ("glob", "matched", "not_matched"),
    [
        ("kernel", ["kernel", "a.kernel", "a.kernel.b"], ["kernels", "a.my_kernel"]),
        ("a.b", ["a.b", "x.a.b", "a.b.c"], ["a.bc", "ab", "a.x.b", "xa.b"]),
        ("a.*.kernel", ["a.b.kernel", "a.b.kernel.c"], ["a.b.c.kernel", "a.kernel"]),
        ("a.**.kernel", ["a.kernel", "a.b.c.kernel"], ["b.kernel", "a.b.bias"]),
        ("layer_*", ["layer_1", "x.layer_12.w"], ["layers", "x.my_layer_1"]),
        ("*_norm", ["a.pre_norm.scale"], ["a.pre_norms", "pre.norm"]),
        ("a[0]['b']", ["a.0.b", "x.a.0.b.c"], ["a.00.b", "a.0.c"]),
        ("w.x", ["w.x"], ["w-x", "wax"]),  # a dot is no other letter
        ("w+", ["w+"], ["ww", "w"]),
    ],
)
def test_globs(glob, matched, not_matched):
    assert [n for n in matched if not _source_paths.matches([glob], n)] == []
    assert [n for n in not_matched if _source_paths.matches([glob], n)] == []


@pytest.mark.parametrize(
    ("new", "old", "name", "expected"),
    [
        ("params.a", "params.b", "params.a.kernel", "params.b.kernel"),
        ("params.a", "params.b", "params.a", "params.b"),
        ("params.a", "params.b", "params.ab", None),
        ("params.a", "params.b", "x.params.a", None),
        ("p.l_*.w", "q.*.x", "p.l_3.w", "q.3.x"),
        ("p.*.*", "q.*_*", "p.a.b", "q.a_b"),
        ("p.*", "q.*", "p.a.b", "q.a.b"),
        ("p.*.w", "q.*.w", "p.a.b.w", None),
        ("p.**.w", "q.**.v", "p.a.b.w", "q.a.b.v"),
        ("p.**.w", "q.**.v", "p.w", "q.v"),
        ("p", "q[0]", "p.w", "q.0.w"),
        (r"re:p\.(\d+)\.(.*)", r"q.\2.\1", "p.3.w", "q.w.3"),
        (r"re:p\.(\d+)", r"q.\1", "p.3.w", None),
        (r"re:p\.(\d+)", r"q[\1]", "p.3", "q.3"),
    ],
)
def test_rules(new, old, name, expected):
    assert _source_paths.Rule(new, old).old_path(name) == expected


@pytest.mark.parametrize(
    ("old", "claimed", "not_claimed"),
    [
        ("a", ["a", "a.b", "a.b.c"], ["ab", "x.a"]),
        ("a.*", ["a.b", "a.b.c"], ["a", "b.a"]),
        ("a.*.w", ["a.b.w"], ["a.b.c.w"]),
    ],
)
def test_what_a_rule_may_leave_unused(old, claimed, not_claimed):
    rule = _source_paths.Rule(old, old)
    assert [n for n in claimed if not rule.claims(n)] == []
    assert [n for n in not_claimed if rule.claims(n)] == []


def test_rule_decides_by_its_place_and_not_by_its_length():
    rules = _source_paths.make_rules({"a.b": "x", "a": "y"})
    assert _source_paths.old_path(rules, "a.b.c") == "y.b.c"
    rules = _source_paths.make_rules({"a": "y", "a.b": "x"})
    assert _source_paths.old_path(rules, "a.b.c") == "x.c"
    assert _source_paths.old_path(rules, "c") is None
