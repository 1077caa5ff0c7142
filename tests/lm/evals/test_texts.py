"""Metrics of written texts: exact match, pass@k, instructions; hand-worked."""

from __future__ import annotations

import itertools

import pytest

from kauldron import kd


def test_exact_match_strips_and_takes_one_of_several_answers():
    metric = kd.lm.ExactMatch(targets="batch.answer")
    state = metric.get_state([" Paris\n", "Lyon", "paris"], ["Paris", "Paris", "Paris"])
    assert state.compute() == pytest.approx(1 / 3)
    state = state.merge(metric.get_state(["four"], [["4", "four"]]))
    assert state.compute() == pytest.approx(2 / 4)


@pytest.mark.parametrize(
    ("options", "text", "answer", "expected"),
    [
        (
            {"pattern": r"answer is (-?\d+)"},
            "The answer is 3, no: answer is 42.",
            "42",
            1,
        ),
        ({"pattern": r"\d+"}, "about 7 or 8", "8", 1),
        ({"pattern": r"answer is (\d+)"}, "42", "42", 0),
        ({"ignores_case": True}, "PARIS", "Paris", 1),
        ({"ignores_punctuation": True}, "Paris,  France.", "Paris France", 1),
        ({}, "Paris.", "Paris", 0),
    ],
)
def test_what_of_a_text_is_compared(options, text, answer, expected):
    metric = kd.lm.ExactMatch(targets="t", **options)
    assert metric.get_state([text], [answer]).compute() == expected


def test_a_broken_pattern_or_number_of_answers_is_told():
    with pytest.raises(ValueError, match="no regular expression"):
        kd.lm.ExactMatch(targets="t", pattern="(")
    with pytest.raises(ValueError, match=r"1 .* for 2 texts"):
        kd.lm.ExactMatch(targets="t").get_state(["a", "b"], ["a"])


@pytest.mark.parametrize(("n", "c"), [(5, 0), (5, 2), (5, 5), (6, 1)])
@pytest.mark.parametrize("k", [1, 2, 5])
def test_pass_at_k_is_the_share_of_choices_with_a_correct_sample(n, c, k):
    samples = [i < c for i in range(n)]
    choices = list(itertools.combinations(samples, k))
    expected = sum(map(any, choices)) / len(choices)
    assert kd.lm.pass_at_k(n, c, k) == pytest.approx(expected)


def test_pass_at_k_of_samples_of_problems_in_any_batches():
    match = kd.lm.ExactMatch(targets="t")
    metric = kd.lm.PassAtK(
        targets="batch.answer", problem="batch.id", is_correct=match.is_match, k=(1, 2)
    )
    # Problem a: one of three is right; b: two of two.
    a = metric.get_state(["1", "x", "2"], ["1", "1", "2"], ["a", "a", "b"])
    b = metric.get_state(["2", "y"], ["2", "1"], ["b", "a"])
    value = a.merge(b).finalize().compute()
    assert value["pass@1"] == pytest.approx((1 / 3 + 1) / 2)
    assert value["pass@2"] == pytest.approx((2 / 3 + 1) / 2)


def test_fewer_samples_than_k_are_told():
    with pytest.raises(ValueError, match="k=3, num_samples=2"):
        kd.lm.pass_at_k(2, 1, 3)


FOLLOWED = [
    ({"kind": "max_words", "number": 3}, "one two three", "one two three four"),
    ({"kind": "min_words", "number": 3}, "It's one-two, three", "one two"),
    ({"kind": "max_sentences", "number": 1}, "Only one.", "One. Two!"),
    ({"kind": "min_sentences", "number": 2}, "One. Two?", "One, two"),
    ({"kind": "num_paragraphs", "number": 2}, "a\nb\n\nc", "a\nb"),
    ({"kind": "num_bullets", "number": 2}, "- a\n* b", "- a"),
    ({"kind": "has_words", "words": ["Cat"]}, "A cat!", "category"),
    ({"kind": "lacks_words", "words": ["cat"]}, "category", "a cat"),
    ({"kind": "starts_with", "text": "Yes"}, " Yes, sir", "No"),
    ({"kind": "ends_with", "text": "bye."}, "Good bye.\n", "bye, all"),
    ({"kind": "no_commas"}, "a b", "a, b"),
    ({"kind": "lowercase"}, "abc 1", "Abc"),
    ({"kind": "uppercase"}, "ABC 1", "ABc"),
    ({"kind": "json"}, '```json\n{"a": [1]}\n```', "{a: 1}"),
]


@pytest.mark.parametrize(
    ("one", "good", "bad"), FOLLOWED, ids=[f[0]["kind"] for f in FOLLOWED]
)
def test_instructions_tell_texts_apart(one, good, bad):
    metric = kd.lm.InstructionFollowing(instructions="i")
    value = metric.get_state([good, bad, ""], [[one], [one], [one]]).compute()
    assert value["instruction"] == pytest.approx(1 / 3)


def test_each_kind_of_instruction_is_tested():
    assert {one["kind"] for one, _, _ in FOLLOWED} == set(kd.lm.INSTRUCTIONS)


def test_a_prompt_counts_if_all_its_instructions_are_followed():
    metric = kd.lm.InstructionFollowing(instructions="i")
    instructions = [{"kind": "lowercase"}, {"kind": "no_commas"}]
    value = metric.get_state(["a, b", "a b"], [instructions, instructions]).compute()
    assert value == pytest.approx({"prompt": 0.5, "instruction": 0.75})


@pytest.mark.parametrize(
    ("one", "message"),
    [
        ({"kind": "max_word", "number": 3}, "Did you mean 'max_words'"),
        ({"kind": "max_words"}, "takes `number`"),
        ({"kind": "json", "number": 1}, "takes nothing"),
    ],
)
def test_unknown_instructions_are_told(one, message):
    with pytest.raises(ValueError, match=message):
        kd.lm.InstructionFollowing(instructions="i").get_state(["a"], [[one]])
