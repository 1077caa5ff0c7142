"""An app of a language model: text in, text out, as the evaluator of its run writes."""

from __future__ import annotations

import pytest

from kauldron import apps, kd, konfig, runs
from tests.apps.verbs import text_run
from tests.apps.verbs.conftest import TRUSTED

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    root = tmp_path_factory.mktemp("texts")
    trainer = konfig.resolve(text_run.get_config(root / "run"))
    trainer.train()
    for i, text in enumerate(text_run.TEXTS):
        (root / f"p{i}.txt").write_text(text)
        (root / f"a{i}.txt").write_text("moon")
    return root, trainer


@pytest.fixture(scope="module")
def app(run):
    root, _ = run
    apps.bundle(root / "run", root / "app", trusted=TRUSTED)
    with apps.App(root / "app") as app:
        yield app


@pytest.fixture(scope="module")
def expected(run):
    """What `kd.lm.generate` writes after each text."""
    _, trainer = run
    tokenizer = text_run.tokenizer()
    params = runs.restore_state(trainer, -1).params
    adds_bos = tokenizer.special.adds_bos
    found = kd.lm.generate(
        trainer.model,
        params,
        [tokenizer.encode(text, add_bos=adds_bos) for text in text_run.TEXTS],
        max_tokens=6,
        stop_ids=tokenizer.stop_ids,
    )
    return [tokenizer.decode(row.tokens) for row in found]


def test_it_writes_what_the_model_writes(app, run, expected, tmp_path):
    root, _ = run
    result = app.infer(root / "p*.txt", out=tmp_path / "out")
    files = [tmp_path / "out" / "text" / f"p{i}.txt" for i in range(4)]
    assert [file.read_text() for file in files] == expected
    assert [result.values["cases"][c]["text"] for c in result.cases] == expected
    manifest = app.inspect()
    assert [(p.name, p.kind) for p in manifest.inputs] == [("prompt", "text")]
    assert manifest.verbs == ("infer", "evaluate", "pipeline", "fine-tune")
    assert manifest.trusted == ()


def test_its_metrics_compare_with_the_answers(app, run, expected, tmp_path):
    root, _ = run
    result = app.evaluate(
        root / "p*.txt", {"answer": root / "a*.txt"}, out=tmp_path / "out"
    )
    metric = kd.metrics.CharErrorRate(preds="preds.text", targets="batch.answer")
    state = metric.get_state(preds=expected, targets=["moon"] * 4)
    got = result.values["overall"]["errors"]
    assert got == pytest.approx(float(state.finalize().compute()))


def test_fewer_tokens_can_be_asked_for(app, run, tmp_path):
    root, _ = run
    path = "evals.writes.max_tokens"
    app.infer(root / "p0.txt", out=tmp_path / "a", overrides={path: 1})
    app.infer(root / "p0.txt", out=tmp_path / "b")
    short = (tmp_path / "a" / "text" / "p0.txt").read_text()
    assert len(short) < len((tmp_path / "b" / "text" / "p0.txt").read_text())


def test_a_file_that_is_no_text_is_told(app, tmp_path):
    (tmp_path / "x.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match=r"'x\.txt' is no text in UTF-8"):
        app.infer(tmp_path / "x.txt", out=tmp_path / "out")


def test_members_of_an_ensemble_are_refused(run, tmp_path):
    root, _ = run
    with pytest.raises(apps.AppError, match="predicts with one checkpoint"):
        apps.bundle(root / "run", tmp_path / "app", members=[1], trusted=TRUSTED)
    assert not (tmp_path / "app").exists()
