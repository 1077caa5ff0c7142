"""Metrics of texts keep the contract, and are what their libraries say of all pairs."""

from __future__ import annotations

import functools
import unicodedata

import jax
import numpy as np
import pytest
import sacrebleu
from rouge_score import rouge_scorer

from kauldron import metrics
from tests.metrics import contract

Case = contract.Case
_pair = {"preds": "p", "targets": "t"}

PREDS = [
    "the cat sat on the mat",
    "a quick brown fox jumps over a lazy dog",
    "nothing like it",
    "Das Mädchen aß einen Apfel",
    "",
]
TARGETS = [
    "the cat is sitting on the mat",
    "the quick brown fox jumps over the lazy dog",
    "entirely different words here",
    "Das Mädchen hat einen Apfel gegessen",
    "an empty guess",
]


def _tokens(rng, n):
    """Ids from 1 to 5, of different lengths, filled up with 0."""
    targets = rng.integers(1, 6, size=(n, 9))
    edited = np.where(rng.random(targets.shape) < 0.7, targets, targets[:, ::-1])
    lengths = rng.integers(5, 10, size=(n, 2, 1))
    at = np.arange(9)
    return {
        "preds": np.where(at < lengths[:, 0], edited, 0),
        "targets": np.where(at < lengths[:, 1], targets, 0),
    }


def _to_letters(ids):
    return "".join(" abcde"[i] for i in ids)


def _edits(a, b):
    """Levenshtein distance by the table of all prefixes."""
    table = np.zeros((len(a) + 1, len(b) + 1), int)
    table[:, 0], table[0] = np.arange(len(a) + 1), np.arange(len(b) + 1)
    for i in range(1, len(a) + 1):
        for j in range(1, len(b) + 1):
            other = table[i - 1, j - 1] + (a[i - 1] != b[j - 1])
            table[i, j] = min(table[i - 1, j] + 1, table[i, j - 1] + 1, other)
    return table[-1, -1]


def _of_pairs(score):
    """Returns the oracle of a metric from a function of lists of lists of ids."""

    def oracle(m, preds, targets):
        keep = np.ones(len(preds), bool) if m is None else m[:, 0]
        lists = [[row[row > 0].tolist() for row in x[keep]] for x in (preds, targets)]
        return score(*lists)

    return oracle


def _words(lists):
    return [" ".join(map(str, x)) for x in lists]


def _bleu(preds, targets):
    return sacrebleu.corpus_bleu(
        _words(preds), [_words(targets)], tokenize="none", force=True
    ).score


def _rouge(preds, targets):
    # The words are digits: the tokenizer of the library keeps them as they are.
    scorer = rouge_scorer.RougeScorer(["rouge1", "rougeL"])
    pairs = zip(_words(targets), _words(preds), strict=True)
    scores = [scorer.score(*pair) for pair in pairs]
    return {k: np.mean([s[k].fmeasure for s in scores]) for k in ("rouge1", "rougeL")}


def _error_rate(preds, targets):
    edits = sum(map(_edits, preds, targets))
    return edits / sum(map(len, targets))


CASES = [
    Case(metrics.Bleu(**_pair), _tokens, _of_pairs(_bleu)),
    Case(
        metrics.Rouge(kinds=("rouge1", "rougeL"), **_pair), _tokens, _of_pairs(_rouge)
    ),
    Case(metrics.WordErrorRate(**_pair), _tokens, _of_pairs(_error_rate)),
    Case(
        metrics.CharErrorRate(decode=_to_letters, **_pair),
        _tokens,
        _of_pairs(_error_rate),
    ),
    Case(
        metrics.EditDistance(**_pair),
        _tokens,
        _of_pairs(lambda p, t: np.mean([*map(_edits, p, t)])),
    ),
]


@contract.laws(
    CASES, without="test_half_precision_inputs_are_measured_in_single_precision"
)
class TestContract:
    pass


def _as_strings(texts):
    return np.array(texts, object)


def _as_bytes(texts):
    width = max(len(t.encode()) for t in texts)
    rows = [np.frombuffer(t.encode().ljust(width, b"\0"), np.uint8) for t in texts]
    return np.stack(rows)


@pytest.mark.parametrize("form", [_as_strings, _as_bytes, list])
@pytest.mark.parametrize("batches", [[5], [1, 2, 2]])
def test_scores_of_texts_are_those_of_the_libraries_in_any_batches(form, batches):
    scorer = rouge_scorer.RougeScorer(["rouge2", "rougeLsum"])
    rouge = [scorer.score(t, p) for p, t in zip(PREDS, TARGETS, strict=True)]
    words = [(p.split(), t.split()) for p, t in zip(PREDS, TARGETS, strict=True)]
    expected = {
        metrics.Bleu(**_pair): sacrebleu.corpus_bleu(PREDS, [TARGETS]).score,
        metrics.Bleu(is_lowercase=True, max_order=2, tokenize="char", **_pair): (
            sacrebleu.BLEU(lowercase=True, max_ngram_order=2, tokenize="char")
            .corpus_score(PREDS, [TARGETS])
            .score
        ),
        metrics.Rouge(kinds=("rouge2", "rougeLsum"), tokenize="ascii", **_pair): {
            k: np.mean([x[k].fmeasure for x in rouge]) for k in ("rouge2", "rougeLsum")
        },
        metrics.WordErrorRate(**_pair): (
            sum(_edits(*w) for w in words) / sum(len(t) for _, t in words)
        ),
        metrics.CharErrorRate(**_pair): (
            sum(map(_edits, PREDS, TARGETS)) / sum(map(len, TARGETS))
        ),
        metrics.EditDistance(**_pair): np.mean([*map(_edits, PREDS, TARGETS)]),
    }
    at = np.split(np.arange(5), np.cumsum(batches)[:-1])
    for metric, value in expected.items():
        states = [
            metric.get_state(
                preds=form([PREDS[i] for i in rows]),
                targets=form([TARGETS[i] for i in rows]),
            )
            for rows in at
        ]
        merged = functools.reduce(lambda a, b: a.merge(b), states, metric.empty())
        contract.assert_close(contract.value(merged), value, rtol=1e-12)


@pytest.mark.parametrize("max_order", [1, 2, 4])
@pytest.mark.parametrize("is_lowercase", [False, True])
@pytest.mark.parametrize("tokenize", ["13a", "char"])
def test_bleu_counts_as_told(max_order, is_lowercase, tokenize):
    preds, targets = ["The CAT sat, on the mat."], ["the cat sat on the mat. Yes"]
    metric = metrics.Bleu(
        max_order=max_order, is_lowercase=is_lowercase, tokenize=tokenize, **_pair
    )
    scorer = sacrebleu.BLEU(
        max_ngram_order=max_order, lowercase=is_lowercase, tokenize=tokenize
    )
    expected = scorer.corpus_score(preds, [targets]).score
    assert metric(preds=preds, targets=targets) == expected


def test_special_ids_are_those_of_tokens_not_of_bytes():
    special = {"pad_id": ord("a"), "end_id": ord("b")}
    rate = metrics.CharErrorRate(**special, **_pair)
    # Two of three letters of 'abc' are right.
    value = rate(preds=_as_bytes(["abx"]), targets=_as_bytes(["abc"]))
    np.testing.assert_allclose(value, 1 / 3)
    ids = {"preds": np.array([[0, 1, 0]]), "targets": np.array([[0, 1, 2]])}
    # Without padding, 0 is an id like others.
    value = metrics.WordErrorRate(pad_id=None, **_pair)(**ids)
    np.testing.assert_allclose(value, 1 / 3)
    np.testing.assert_allclose(metrics.WordErrorRate(**_pair)(**ids), 1 / 2)


def test_token_ids_end_at_the_end_and_are_decoded():
    metric = metrics.CharErrorRate(
        decode=_to_letters, end_id=9, pad_id=None, mask="m", **_pair
    )
    preds = np.array([[1, 2, 9, 3], [1, 1, 1, 1]])
    targets = np.array([[1, 3, 3, 9], [2, 2, 2, 2]])
    value = metric(preds=preds, targets=targets, mask=np.array([1, 0]))
    np.testing.assert_allclose(value, 2 / 3)  # 'ab' for 'acc'


def test_lengths_may_differ_between_batches_also_inside_jit():
    metric = metrics.WordErrorRate(**_pair)
    short = metric.get_state(preds=np.array([[1, 2]]), targets=np.array([[1, 2, 3]]))
    long = metric.get_state(preds=np.array([[4] * 5]), targets=np.array([[4]]))
    for merge in (lambda a, b: a.merge(b), jax.jit(lambda a, b: a.merge(b))):
        np.testing.assert_allclose(merge(short, long).compute(), 5 / 4)
        np.testing.assert_allclose(merge(long, short).compute(), 5 / 4)


def test_score_can_have_an_interval():
    ids = _tokens(np.random.default_rng(0), 30)
    for metric in (metrics.Bleu(**_pair), metrics.Rouge(kinds=["rouge1"], **_pair)):
        value = metrics.Bootstrap(metric=metric, num_resamples=30)(**ids)
        contract.assert_close(value["value"], metric(**ids), rtol=1e-12)
        low, middle, high = (
            jax.tree.leaves(value[k])[0] for k in ("low", "value", "high")
        )
        assert low < middle < high


@pytest.mark.parametrize(
    "metric",
    [
        metrics.Bleu(**_pair),
        metrics.Rouge(**_pair),
        metrics.WordErrorRate(**_pair),
        metrics.CharErrorRate(**_pair),
        metrics.EditDistance(**_pair),
    ],
    ids=lambda m: type(m).__name__,
)
def test_score_of_no_pairs_is_undefined(metric):
    masked = metric.get_state(preds=["a b"], targets=["a c"], mask=np.zeros(1))
    none = metric.get_state(preds=np.array([], str), targets=np.array([], str))
    for state in (metric.empty(), none, masked, none.merge(masked)):
        value = state.finalize().compute()
        values = value if isinstance(metric, metrics.Rouge) else {"": value}
        assert list(values) == list(metric.__metric_names__() or [""])
        assert all(np.isnan(x) and np.shape(x) == () for x in values.values())


def test_pairs_without_words_are_pairs():
    assert metrics.Bleu(**_pair)(preds=[""], targets=["a"]) == 0
    assert metrics.Rouge(kinds=("rouge1",), **_pair)(preds=[""], targets=["a"]) == {
        "rouge1": 0
    }
    assert metrics.WordErrorRate(**_pair)(preds=[""], targets=[""]) == 0
    assert metrics.WordErrorRate(**_pair)(preds=["a b"], targets=[""]) == 2


@pytest.mark.parametrize(
    ("metric", "preds", "targets", "message"),
    [
        (metrics.Bleu(**_pair), ["a"], ["a", "b"], r"got 1 strings \(key 'p'\) and 2"),
        (metrics.Bleu(**_pair), ["a"], np.ones((1, 2), int), "1 tokens"),
        (metrics.Rouge(**_pair), np.ones((1, 2)), ["a"], "key 'p' is float64"),
        (
            metrics.CharErrorRate(**_pair),
            np.ones((1, 2), int),
            np.ones((1, 2), int),
            "need `decode=`",
        ),
        (metrics.Bleu(tokenize="zhh", **_pair), ["a"], ["a"], "Did you mean 'zh'"),
    ],
)
def test_what_cannot_be_compared_is_refused_at_once(metric, preds, targets, message):
    with pytest.raises(ValueError, match=message):
        metric.get_state(preds=preds, targets=targets)


def test_mask_of_another_number_of_texts_is_refused():
    with pytest.raises(ValueError, match=r"which of 1 pairs count: got shape \(2,\)"):
        metrics.Bleu(**_pair).get_state(preds=["a"], targets=["a"], mask=np.ones(2))


@pytest.mark.parametrize(
    "make", [lambda: metrics.Bleu(max_order=0), lambda: metrics.Rouge(kinds=["rougeX"])]
)
def test_parameters_out_of_range_are_refused(make):
    with pytest.raises(ValueError, match="got"):
        make()


@pytest.mark.parametrize(
    ("metric", "library"),
    [
        (metrics.Bleu, "sacrebleu"),
        (metrics.Rouge, "rouge-score"),
        (metrics.EditDistance, "rapidfuzz"),
    ],
)
def test_missing_library_is_named_before_anything_is_measured(
    monkeypatch, metric, library
):
    def no_library(name, *args, **kwargs):
        if name.startswith(library.replace("-", "_")):
            raise ModuleNotFoundError(f"No module named {name!r}")
        return import_module(name, *args, **kwargs)

    import importlib

    import_module = importlib.import_module
    monkeypatch.setattr(importlib, "import_module", no_library)
    ids = np.ones((1, 2), int)
    with pytest.raises(ImportError, match=rf"needs {library} .*kauldron\[text\]"):
        metric(**_pair).get_state(preds=ids, targets=ids)


# Two texts, and their words.
_TEXTS = {
    "Chinese": (
        "猫坐在垫子上。",
        "狗坐在垫子上!",
        list("猫坐在垫子上"),
        list("狗坐在垫子上"),
    ),
    "Japanese": ("ねこがいる", "いぬがいる", list("ねこがいる"), list("いぬがいる")),
    "Thai": ("กินข้าว", "กินน้ำ", ["กิ", "น", "ข้", "า", "ว"], ["กิ", "น", "น้", "ำ"]),
    "Russian": (
        "Кошка сидит, на коврике",
        "кошка сидит на столе",
        ["кошка", "сидит", "на", "коврике"],
        ["кошка", "сидит", "на", "столе"],
    ),
    "Hindi": (
        "पूर्व प्रधानमन्त्री शिंजो",
        "पूर्व प्रधानमन्त्री मोदी",
        ["पूर्व", "प्रधानमन्त्री", "शिंजो"],
        ["पूर्व", "प्रधानमन्त्री", "मोदी"],
    ),
    "Arabic": (
        "القِطَّةُ على السجادة",
        "القِطَّةُ، تحت السجادة؟",
        ["القِطَّةُ", "على", "السجادة"],
        ["القِطَّةُ", "تحت", "السجادة"],
    ),
    "Korean": (
        "고양이가 매트에 앉았다",
        "고양이가 의자에 앉았다",
        ["고양이가", "매트에", "앉았다"],
        ["고양이가", "의자에", "앉았다"],
    ),
    "accents": (
        "Übung macht-den Meister",
        "bung macht den Meister",
        ["übung", "macht", "den", "meister"],
        ["bung", "macht", "den", "meister"],
    ),
    "mixed": ("GPT猫2", "GPT 猫 2", ["gpt", "猫", "2"], ["gpt", "猫", "2"]),
}


def _overlap(preds, targets):
    """F-measure of the words of two lists, without a library."""
    common = sum(min(preds.count(w), targets.count(w)) for w in set(preds))
    return 2 * common / max(len(preds) + len(targets), 1)


@pytest.mark.parametrize("name", _TEXTS)
def test_rouge_knows_the_words_of_any_script(name):
    text, other, words, other_words = _TEXTS[name]
    rouge = metrics.Rouge(kinds=("rouge1", "rougeL", "rougeLsum"), **_pair)
    same = rouge(preds=[text], targets=[text.upper()])
    assert all(value == 1 for value in same.values())
    value = rouge(preds=[text], targets=[other])["rouge1"]
    np.testing.assert_allclose(value, _overlap(words, other_words))


@pytest.mark.parametrize("use_stemmer", [False, True])
def test_rouge_of_ascii_is_that_of_the_library(use_stemmer):
    texts = [
        ("The cats' running-shoes, 3.5 of them!", "the cat ran; shoes 3.5"),
        ("don't stop_me now\nnew line here", "Dont stop me\nhere is a new line"),
        ("U.S.A. vs. u s a", "USA"),
        ("...", "..."),
        ("", "nothing"),
        ("his was", "hi wa"),  # three letters are no stem and ending
        ("generalizations oscillators relational", "general oscillate relate"),
    ]
    kinds = ["rouge1", "rouge2", "rouge3", "rougeL", "rougeLsum"]
    scorer = rouge_scorer.RougeScorer(kinds, use_stemmer=use_stemmer)
    for tokenize in ("words", "ascii"):
        rouge = metrics.Rouge(
            kinds=kinds, use_stemmer=use_stemmer, tokenize=tokenize, **_pair
        )
        for pred, target in texts:
            expected = {k: v.fmeasure for k, v in scorer.score(target, pred).items()}
            assert rouge(preds=[pred], targets=[target]) == expected


def test_joiners_and_loose_marks_do_not_end_a_word():
    rouge = metrics.Rouge(kinds=("rouge1",), **_pair)
    joined, apart = "क्\u200dष", "क् ष"
    assert rouge(preds=[joined], targets=[joined])["rouge1"] == 1
    assert rouge(preds=[joined], targets=[apart])["rouge1"] == 0
    assert rouge(preds=["\u0301a b"], targets=["\u0301a c"])["rouge1"] == 1 / 2


@pytest.mark.parametrize(
    ("tokenize", "expected"),
    [("ascii", 1), ("char", 2 / 3), ("none", 0), ("zh", 2 / 3), ("13a", 0)],
)
def test_rouge_splits_as_told(tokenize, expected):
    rouge = metrics.Rouge(kinds=("rouge1",), tokenize=tokenize, **_pair)
    value = rouge(preds=["猫好A"], targets=["狗好a"])["rouge1"]
    np.testing.assert_allclose(value, expected)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tokenize": "word"}, "must be one of .* Did you mean 'words'"),
        ({"tokenize": "char", "use_stemmer": True}, "needs words: got"),
    ],
)
def test_rouge_refuses_to_split_in_unknown_ways(options, message):
    with pytest.raises(ValueError, match=message):
        metrics.Rouge(**options, **_pair)


@pytest.mark.parametrize("as_input", [_as_strings, _as_bytes])
def test_a_letter_with_an_accent_is_the_same_as_one_character_and_as_two(as_input):
    text = "Übung für Ångström, पूर्व, 각"
    composed, decomposed = (unicodedata.normalize(f, text) for f in ("NFC", "NFD"))
    assert len(composed) < len(decomposed)
    for metric, same in [
        (metrics.Rouge(kinds=("rouge1",), **_pair), {"rouge1": 1}),
        (metrics.Bleu(**_pair), 100),
        (metrics.WordErrorRate(**_pair), 0),
        (metrics.CharErrorRate(**_pair), 0),
        (metrics.EditDistance(**_pair), 0),
    ]:
        inputs = {
            "preds": as_input([composed]),
            "targets": as_input([decomposed]),
        }
        contract.assert_close(metric(**inputs), same, rtol=1e-12)
    forms = {1: composed, 2: decomposed}
    decode = metrics.EditDistance(decode=lambda ids: forms[ids[0]], **_pair)
    assert decode(preds=np.array([[1]]), targets=np.array([[2]])) == 0
    rate = metrics.CharErrorRate(**_pair)
    assert rate(preds=["é"], targets=["e\u0301\u0301"]) == 1 / 2


@pytest.mark.parametrize("name", _TEXTS)
def test_edits_count_characters_and_words_of_any_script(name):
    text, other, *_ = _TEXTS[name]
    pair = [unicodedata.normalize("NFC", t) for t in (text, other)]
    inputs = {"preds": [text], "targets": [other]}
    chars = metrics.CharErrorRate(**_pair)(**inputs)
    assert chars == _edits(*pair) / len(pair[1])
    words = metrics.WordErrorRate(**_pair)(**inputs)
    split = [t.split() for t in pair]
    assert words == _edits(*split) / len(split[1])
