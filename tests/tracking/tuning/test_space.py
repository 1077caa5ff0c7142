"""Spaces: how they are written, what they refuse, what they give."""

from __future__ import annotations

import pytest

from kauldron import kd, konfig
from kauldron.tracking.tuning import _space, _values

tune = kd.tracking.tune

_TEXTS = [
    "a.b=int(8,64)",
    "a.b=int(1,512,log)",
    "a.b=int(0,64,step=16)",
    "a.b=float(0.0001,0.1,log)",
    "a.b=float(0,1,step=0.1)",
    "a.b=choice(relu,3,None,a b,'3','x,y')",
]


@pytest.mark.parametrize("text", _TEXTS)
def test_what_is_written_of_a_space_is_read_as_the_same_space(text):
    (values,) = tune.parse_space([text]).values()
    assert f"a.b={values}" == text


def test_a_condition_is_written_behind_the_values():
    texts = ["kind=choice(sgd,adam,3)", "beta=float(0,1) if kind=adam|3"]
    space = _space.Space(tune.parse_space(reversed(texts)))
    assert [f"{p}={v}" for p, v in space.as_dict().items()] == texts
    given = {
        "beta": tune.Float(0, 1, when={"kind": ["adam", 3]}),
        "kind": tune.Choice(["sgd", "adam", 3]),
    }
    assert _space.Space(given).as_dict() == space.as_dict()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a", "a path and its values are needed"),
        ("a=8", "`8` is no range of values"),
        ("a=itn(1,2)", "Did you mean 'int'?"),
        ("a=int(9,8)", r"is empty: the smaller end comes first, `int\(8,9\)`"),
        ("a=int(1,2.5)", "2.5 is none of the whole numbers"),
        ("a=int(1)", "two ends are needed"),
        ("a=float(0,1,log)", "with `log`, both ends are above 0"),
        ("a=float(1,nan)", "nan is none of the numbers"),
        ("a=float(1,2,lgo)", "'lgo' is unknown"),
        ("a=int(1,8,log,step=2)", "don't go together"),
        ("a=int(1,8,step=0)", "the step is above 0"),
        ("a=choice()", "nothing to choose"),
        ("a=choice(x,y,x)", "x is there twice"),
        ("a=int(1,2) if b", "a condition is a path and values"),
        ("a=int(1,2) if bb=3", "does not differ between trials. Did you mean 'bbb'"),
        ("a=int(1,2) if bbb=z", "if `bbb` is z, which it never is"),
        ("a=int(1,2) if c=5", "in a circle: a -> c -> a"),
    ],
)
def test_what_is_no_space_is_told_with_what_would_be_one(text, message):
    others = ["bbb=choice(x,y)", "c=int(5,6) if a=1"]
    needed = others[1:] if "circle" in message else others[:1]
    with pytest.raises(tune.StudyError, match=message):
        _space.Space(tune.parse_space([text, *needed]))


def test_a_path_given_twice_and_nothing_at_all_are_refused():
    with pytest.raises(tune.StudyError, match="`a` is given twice"):
        tune.parse_space(["a=int(1,2)", "cfg.a=int(1,3)"])
    with pytest.raises(tune.StudyError, match="Nothing differs between the trials"):
        _space.Space({})


def test_proposed_numbers_have_four_digits_and_stay_in_their_range():
    values = tune.Float(0.123456, 0.2)
    assert values.to_value(0.1567891) == 0.1568
    assert values.to_value(0.12345601) == 0.1235
    assert tune.Float(0.12344, 0.2).to_value(0.12344) == 0.12344  # 0.1234 is below
    steps = tune.Float(0, 1, step=0.1)
    assert steps.all() == [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]
    assert steps.from_text("0.3") == 0.3
    assert steps.from_text("0.35") is None


def test_all_combinations_are_found_where_they_can_be_counted():
    space = _space.Space(
        tune.parse_space(
            ["kind=choice(a,b)", "n=int(1,3)", "beta=choice(x,y) if kind=b"]
        )
    )
    tried: set[str] = set()
    found = []
    while (chosen := space.untried(tried, seed=len(tried))) is not None:
        tried.add(_space.key(chosen))
        found.append(chosen)
    # kind=a: 3; kind=b: 3 * 2.
    assert len(found) == 9
    assert all(("beta" in c) == (c["kind"] == "b") for c in found)


def test_values_of_a_config_are_a_trial_if_they_are_in_the_space():
    cfg = konfig.ConfigDict({"kind": "b", "n": 2, "beta": 0.5})
    texts = ["kind=choice(a,b)", "n=int(1,3)", "beta=float(0,1) if kind=a"]
    space = _space.Space(tune.parse_space(texts))
    assert space.of_config(cfg) == {"kind": "b", "n": 2}
    cfg.n = 4
    assert space.of_config(cfg) is None


def test_values_that_are_no_text_keep_their_type():
    call = konfig.ConfigDict({"x": 1})
    choice = tune.Choice([1, "1", 1.0, None, True, call])
    space = _space.Space({"a": choice})
    for value, text in zip(choice.options, choice.texts, strict=True):
        assert space.params({"a": text}) is not None
        assert choice.to_value(text) is value
    assert isinstance(choice, _values.Choice)
