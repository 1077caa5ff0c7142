"""Several writers: each gets what it can show; none can disturb the others or the run."""

from __future__ import annotations

import collections
import dataclasses
import json
import threading

import flax.struct
import numpy as np
import pytest
from tensorboard.backend.event_processing import event_accumulator

from kauldron import kd, konfig, metrics
from kauldron.recording import recorder as recorder_lib
from kauldron.train import metric_writer
from tests.train import small_run

RNG = np.random.default_rng(0)
CALLS: dict[str, list] = collections.defaultdict(list)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Numbers(kd.train.WriterBase):
    """Has a place for numbers only."""

    name: str = "numbers"

    def write_scalars(self, step, scalars):
        CALLS[self.name].append((self.collection, step, dict(scalars)))


class Everything(kd.train.WriterBase):
    """Written for the published package: every method, with its parameters."""

    def write_scalars(self, step, scalars):
        self._note("scalars", step, scalars)

    def write_images(self, step, images):
        self._note("images", step, images)

    def write_histograms(self, step, arrays, *, num_buckets):
        self._note("histograms", step, arrays)

    def write_pointcloud(self, step, point_clouds, *, point_colors, configs):
        self._note("pointcloud", step, point_clouds)

    def write_videos(self, step, videos):
        self._note("videos", step, videos)

    def write_audios(self, step, audios, *, sample_rate):
        self._note("audios", step, audios)

    def write_texts(self, step, texts):
        self._note("texts", step, texts)

    def write_hparams(self, hparams):
        self._note("hparams", 0, hparams)

    def write_config(self, config):
        self._note("config", 0, {"config": config})

    def write_param_overview(self, step, params):
        self._note("param_overview", step, params)

    def write_element_spec(self, step, element_spec):
        self._note("element_spec", step, element_spec)

    def write_context_structure(self, step, trainer):
        self._note("context_structure", step, trainer.context_specs.flatten())

    def flush(self):
        pass

    def close(self):
        CALLS["closed"].append(self.collection)

    def _note(self, kind, step, values):
        CALLS[kind].append((step, sorted(values)))


@pytest.fixture(autouse=True)
def _forget_calls():
    CALLS.clear()


def _lines(workdir, collection="train", file="metrics.jsonl"):
    records = map(json.loads, (workdir / file).read_text().splitlines())
    return [r for r in records if r["collection"] == collection]


def _events(folder):
    events = event_accumulator.EventAccumulator(str(folder))
    events.Reload()
    return events


def _values():
    return {
        "image": RNG.random((2, 4, 5, 3), np.float32),
        "text": "a *word*",
        "histogram": kd.summaries.Histogram(np.arange(5.0)),
        "points": kd.summaries.PointCloud(RNG.random((1, 4, 3), np.float32)),
        "video": kd.summaries.Video(RNG.random((1, 3, 4, 5, 1), np.float32)),
    }


def test_published_writers_are_given_each_kind_with_their_own_parameters(tmp_path):
    Everything(workdir=tmp_path).write_summaries(3, _values(), metadata=None)
    kinds = {kind: names for kind, [(_, names)] in CALLS.items()}
    assert kinds == {
        "images": ["image"],
        "texts": ["text"],
        "histograms": ["histogram"],
        "pointcloud": ["points"],
        "videos": ["video"],
    }


def test_what_a_writer_has_no_place_for_is_an_error_and_the_rest_is_written(tmp_path):
    class WithImages(Numbers):
        def write_images(self, step, images):
            CALLS["images"].extend(images)

    with pytest.raises(
        metric_writer.CannotShowError,
        match=r"(?s)WithImages cannot show texts: \['text'\]. Put a writer that can beside",
    ):
        WithImages(workdir=tmp_path).write_summaries(0, _values())
    assert CALLS["images"] == ["image", "video"]  # a video as a row of frames


def test_several_writers_are_given_what_each_can_show(tmp_path):
    writer = kd.train.MultiWriter(
        workdir=tmp_path, writers={"mine": Numbers(), "all": Everything()}
    )
    writer.write_scalars(1, {"x": 0.5})
    writer.write_summaries(1, _values())
    assert CALLS["numbers"] == [("$not_set$", 1, {"x": 0.5})]
    assert CALLS["scalars"] == [(1, ["x"])]
    assert CALLS["videos"] == [(1, ["video"])]
    alone = kd.train.MultiWriter(writers={"mine": Numbers()})
    with pytest.raises(TypeError, match="MultiWriter cannot show images"):
        alone.write_images(1, {"a": np.zeros((1, 2, 2, 3), np.uint8)})


def test_one_of_several_writers_fails_and_the_others_are_called(tmp_path):
    class Broken(Numbers):
        def write_scalars(self, step, scalars):
            raise OSError("no route to the tracker")

    writer = kd.train.MultiWriter(writers={"broken": Broken(), "mine": Numbers()})
    with pytest.raises(OSError, match="no route"):
        writer.write_scalars(1, {"x": 0.5})
    assert len(CALLS["numbers"]) == 1


@pytest.mark.parametrize("wrong", [3, {"a": 3}, {}])
def test_something_that_is_no_writer_is_refused(tmp_path, wrong):
    with pytest.raises(TypeError, match=r"must be a"):
        small_run.make_trainer(tmp_path, writer=wrong)


def test_a_config_has_several_writers_by_name(tmp_path):
    with konfig.imports():
        from kauldron import kd as lazy_kd
        from tests.recording import test_writers

    cfg = konfig.ConfigDict(
        {
            "files": lazy_kd.train.KDMetricWriter(),
            "mine": test_writers.Numbers(name="a"),
        }
    )
    cfg.mine.name = "b"
    cfg.files.save_images = True
    trainer = small_run.make_trainer(
        tmp_path,
        writer=konfig.resolve(cfg),
        evals={"eval": kd.evals.Evaluator(run=kd.evals.Final())},
    )
    parts = trainer.writer.parts()
    assert {k: type(v).__name__ for k, v in parts.items()} == {
        "files": "KDMetricWriter",
        "mine": "Numbers",
    }
    assert parts["mine"].name == "b"
    assert parts["files"].save_images
    assert {w.collection for w in parts.values()} == {"train"}
    of_eval = trainer.evals.eval.writer.parts()
    assert {w.collection for w in of_eval.values()} == {"eval"}
    assert {w.workdir for w in of_eval.values()} == {tmp_path}


def test_evaluators_follow_the_writer_of_the_trainer_unless_they_have_their_own(
    tmp_path,
):
    run = kd.evals.Final()
    trainer = small_run.make_trainer(
        tmp_path,
        evals={
            "a": kd.evals.Evaluator(run=run),
            "b": kd.evals.Evaluator(run=run, writer={"own": Numbers(name="own")}),
        },
    ).replace(writer=Numbers(name="new"), workdir=tmp_path / "other")
    a, b = (trainer.evals[name].writer for name in "ab")
    assert (a.name, a.collection, a.workdir) == ("new", "a", tmp_path / "other")
    [own] = b.parts().values()
    assert (own.name, own.collection, own.workdir) == ("own", "b", tmp_path / "other")


def test_broken_and_hanging_writers_leave_the_run_and_the_others_alone(
    tmp_path, capfd, monkeypatch
):
    monkeypatch.setattr(recorder_lib, "_PATIENCE_SECS", 0.05)
    run_ended = threading.Event()
    written_before = []

    class Broken(Numbers):
        def write_scalars(self, step, scalars):
            raise ValueError(f"no tracker at {step}")

        def rewind(self, step):
            raise OSError("cannot rewind")

    class Hanging(Numbers):
        def write_scalars(self, step, scalars):
            assert run_ended.wait(60)
            super().write_scalars(step, scalars)

    class Last(kd.evals.EvaluatorBase):
        def evaluate(self, state, step):
            written_before.extend(r["step"] for r in _lines(tmp_path))
            written_before.append(len(CALLS["hanging"]))
            run_ended.set()

    state, _ = small_run.make_trainer(
        tmp_path,
        writer={
            "broken": Broken(),
            "hanging": Hanging(name="hanging"),
            "files": kd.train.KDMetricWriter(),
            "mine": Numbers(),
        },
        checkpointer=kd.ckpts.Checkpointer(save_interval_steps=4),
        evals={"last": Last(run=kd.evals.Final())},
    ).train()
    assert state.step == 10
    # A checkpoint at step 8 has waited for the files, and not for what hangs.
    assert written_before[:4] == [0, 2, 4, 6]
    assert written_before[-1] == 0
    assert [r["step"] for r in _lines(tmp_path)] == [0, 2, 4, 6, 8]
    for name in ("numbers", "hanging"):
        assert [step for _, step, _ in CALLS[name]] == [0, 0, 2, 2, 4, 4, 6, 6, 8, 8]
    err = capfd.readouterr().err
    assert err.count("Warning: the writer 'broken' failed; this stops nothing") == 2
    for text in ("OSError: cannot rewind", "ValueError: no tracker at 0"):
        assert err.count(f"\n{text}") == 1
    # Where it was raised: the user's file and line.
    assert "test_writers.py" in err and 'raise ValueError(f"no tracker' in err
    assert "no tracker at 2" not in err
    assert "In all: the writer 'broken' failed 7 times" in err  # 5, and two rewinds
    assert err.count("the writer 'hanging' is more than 0.05 s behind") == 1


def test_a_writer_that_is_too_slow_loses_writes_and_says_so_once(capfd, monkeypatch):
    monkeypatch.setattr(recorder_lib, "_MAX_WRITING", 2)
    go_on = threading.Event()
    writer = Numbers()
    recorder = recorder_lib.Recorder([writer])
    for step in range(6):
        recorder.tell(
            writer, lambda w, step=step: (go_on.wait(60), CALLS["n"].append(step))
        )
    go_on.set()
    recorder.close()
    assert CALLS["n"][:2] == [0, 1]
    assert len(CALLS["n"]) < 6
    assert capfd.readouterr().err.count("is too slow: 2 writes wait for it") == 1


def test_start_of_a_run_is_described_once_and_evaluations_are_computed_once(
    tmp_path, monkeypatch
):
    num_computed = collections.Counter()

    @dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
    class Counted(kd.evals.Evaluator):
        def evaluate(self, state, step):
            aux = super().evaluate(state, step)
            # Inside of a run the writing goes on beside it; the values can be asked for.
            later = self.writer.write_step_metrics(
                step=step + 100, aux=aux, schedules={}, log_summaries=False
            )
            expected = aux.compute()
            assert later.loss_values == expected.loss_values
            assert later.metric_values == expected.metric_values
            assert later.summary_values == {}
            num_computed["evaluations"] += 1
            return aux

    compute_numbers = kd.train.AuxiliariesState.compute_numbers

    def counting(self, *args):
        num_computed["computed"] += bool(self.loss_states)
        return compute_numbers(self, *args)

    monkeypatch.setattr(kd.train.AuxiliariesState, "compute_numbers", counting)

    def train(num_steps):
        small_run.make_trainer(
            tmp_path,
            num_train_steps=num_steps,
            log_metrics_every=1000,
            writer={"all": Everything(), "files": kd.train.KDMetricWriter()},
            checkpointer=kd.ckpts.Checkpointer(
                save_interval_steps=2, best_metric_path="eval.accuracy"
            ),
            evals={"eval": Counted(run=kd.evals.EveryNSteps(2, skip_first=True))},
        ).train()

    train(2)
    described = {
        k: v for k, v in CALLS.items() if k.startswith(("param", "ele", "con"))
    }
    assert described == {
        "param_overview": [(0, ["layers_0", "layers_3"])],
        "element_spec": [(0, ["label", "x"])],
        "context_structure": described["context_structure"],
    }
    [(_, keys)] = described["context_structure"]
    assert {"preds.logits", "grads.layers_0.kernel"} <= {*keys}
    # The train step of 0, the evaluation (twice, and once above): none for the
    # checkpoint or the screen, none for the second writer.
    assert num_computed == {"evaluations": 1, "computed": 1 + 3}
    assert sorted(CALLS["closed"]) == ["eval", "train"]
    train(4)
    assert {k: len(v) for k, v in described.items()} == dict.fromkeys(described, 1)


def test_a_continued_run_has_each_step_once_also_in_tensorboard(tmp_path):
    class Killed(kd.evals.EvaluatorBase):
        def evaluate(self, state, step):
            raise RuntimeError("as if killed")

    def train(**evals):
        small_run.make_trainer(
            tmp_path,
            num_train_steps=8,
            checkpointer=kd.ckpts.Checkpointer(save_interval_steps=4),
            evals={"eval": kd.evals.Evaluator(run=kd.evals.EveryNSteps(3)), **evals},
        ).train()

    with pytest.raises(RuntimeError, match="as if killed"):
        train(killed=Killed(run=kd.evals.Once(7)))
    assert [r["step"] for r in _lines(tmp_path)] == [0, 2, 4, 6]
    train()
    expected = {"train": [0, 2, 4, 6], "eval": [0, 3, 6]}
    for collection, steps in expected.items():
        assert [r["step"] for r in _lines(tmp_path, collection)] == steps
        events = _events(tmp_path / collection)
        for tag in ("losses/total", "metrics/accuracy"):
            assert [s.step for s in events.Scalars(tag)] == steps


@flax.struct.dataclass
class _Shown(metrics.State):
    """Computes something that nobody can show, or a text."""

    index: int

    def merge(self, other):
        return self

    def compute(self):
        return [np.zeros((2, 2)), "a text"][self.index]


def test_summary_that_nobody_can_show_is_reported_and_the_others_are_written(
    tmp_path, capfd
):
    writer = Everything(workdir=tmp_path, collection="train")
    recorder = recorder_lib.Recorder([writer])
    with recorder.active():
        writer.write_step_metrics(
            step=2,
            aux=kd.train.AuxiliariesState(
                summary_states={"odd": _Shown(0), "b": _Shown(1)}
            ),
            schedules={},
            log_summaries=True,
        )
    recorder.close()
    assert CALLS["texts"] == [(2, ["summaries/b"])]
    assert (
        "Summary 'summaries/odd' cannot be shown: got ndarray" in capfd.readouterr().err
    )
