"""One run that ends early and is continued: who is told what, when, and how often."""

from __future__ import annotations

import json
import time
import types

import pytest

from kauldron import kd
from kauldron.recording import _progress_display
from kauldron.workdir import run_status
from tests.train import small_run

_BATCH_SECS = 0.005


class _Batches(kd.data.iters.MappedIterator):
    def close(self):
        self.source.course.append("data closed")
        super().close()


class _SlowData(kd.data.IterableDataset):
    """Batches of the small run that take a while to load."""

    is_endless = True
    batch_size = 16
    element_spec = None

    def __init__(self, course):
        self._ds = small_run.make_ds()
        self.element_spec, self.course = self._ds.element_spec, course

    def __iter__(self):
        def load(batch):
            time.sleep(_BATCH_SECS)
            return batch

        return _Batches(self, iter(self._ds), load)


class _Noting:
    """Notes the course of a run in a list that copies share."""

    def __init__(self, workdir):
        self.workdir, self.course, self.timings = workdir, [], {}
        self.snapshot = None

    def start_display(self, snapshot):
        self.snapshot = snapshot
        return types.SimpleNamespace(shows_lines=False, stop=lambda: None)

    def lines_on_disk(self):
        file = self.workdir / "metrics.jsonl"
        text = file.read_text() if file.exists() else ""
        records = [json.loads(line) for line in text.splitlines()]
        return [(r["collection"], r["step"]) for r in records]


def _parts(noting):
    """Parts of a trainer that note what is asked of them, and do it."""
    course = noting.course

    class Writer(kd.train.KDMetricWriter):
        def describe(self, step, run):
            course.append(("describe", step))

        def rewind(self, step):
            course.append(("rewind", self.collection, step))
            super().rewind(step)

        def write_scalars(self, step, scalars):
            time.sleep(0.05)
            super().write_scalars(step, scalars)

        def write_timings(self, step, timings):
            noting.timings[step] = dict(timings)

    class Checkpointer(kd.ckpts.Checkpointer):
        def save(self, state, *, step, force=False, metrics=None):
            lines = noting.lines_on_disk()
            saved = super().save(state, step=step, force=force, metrics=metrics)
            course.append(("save", step, lines))
            return saved

        def wait_until_finished(self):
            course.append("wait")
            super().wait_until_finished()

        def close(self):
            course.append("checkpointer closed")
            super().close()

    class Profiler(kd.inspect.NoopProfiler):
        traces = True

        def __call__(self, step, *, wait_for=None):
            course.append(("profile", step))

        def close(self):
            course.append("profiler closed")

    class Exporter(kd.export.NoopExporter):
        def export(self, *, model, state, element_spec, is_training):
            course.append(("export", int(state.step), is_training))

    class Hook(kd.train.Hook):
        def after_step(self, run, *, step, state, aux):
            course.append(("shown", noting.snapshot().fields[0]))

        def on_end(self, run, *, step, state):
            course.append(("end", step))

    return {
        "train_ds": _SlowData(course),
        "writer": Writer(),
        "checkpointer": Checkpointer(save_interval_steps=3),
        "profiler": Profiler(),
        "exporter": Exporter(),
        "hooks": {"notes": Hook()},
        "evals": {
            "test": kd.evals.Evaluator(run=kd.evals.EveryNSteps(3)),
            "apart": kd.evals.Evaluator(run=kd.evals.StandaloneEveryCheckpoint()),
        },
    }


@pytest.fixture(scope="module")
def starts(tmp_path_factory):
    """What is noted of a run up to step 6, and of the rest up to step 10."""
    workdir = tmp_path_factory.mktemp("run")
    found = []
    for stop_after_steps in (6, None):
        noting = _Noting(workdir)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(_progress_display, "start", noting.start_display)
            small_run.make_trainer(
                workdir, stop_after_steps=stop_after_steps, **_parts(noting)
            ).train()
        noting.status = run_status.read(workdir)
        found.append(noting)
    return found


def _of(noting, *kinds):
    return [x for x in noting.course if x[0] in kinds]


def _steps(lines, collection):
    return [step for name, step in lines if name == collection]


def test_what_was_measured_before_a_checkpoint_is_on_disk_before_it(starts):
    found = [
        (step, _steps(lines, "train"), _steps(lines, "test"))
        for noting in starts
        for _, step, lines in _of(noting, "save")
    ]
    # The step that the second start begins at is there already.
    assert found == [
        (0, [], [0]),
        (3, [0, 2], [0, 3]),
        (6, [0, 2, 4], [0, 3, 6]),
        (9, [0, 2, 4, 6, 8], [0, 3, 6, 9]),
        (10, [0, 2, 4, 6, 8], [0, 3, 6, 9]),
    ]


def test_a_run_has_ended_when_its_last_checkpoint_is_complete(starts):
    for noting, last_step in zip(starts, (6, 10), strict=True):
        (at,) = (
            i
            for i, x in enumerate(noting.course)
            if x[0] == "save" and x[1] == last_step
        )
        rest = noting.course[at + 1 :]
        end = rest.index(("end", last_step))
        assert "wait" in rest[:end]
        assert "profiler closed" in rest[:end]
        assert rest[end + 1 :].count("data closed") == 1
        assert rest[end + 1 :].count("checkpointer closed") == 1


def test_only_a_new_run_is_described_and_exported_at_its_first_step(starts):
    new, continued = (_of(x, "describe", "export") for x in starts)
    assert sorted(new) == [("describe", 0), ("export", 0, False)]
    assert continued == []
    assert len({noting.status.run_id for noting in starts}) == 1


def test_each_start_rewinds_what_is_written_along_it(starts):
    for noting, step in zip(starts, (0, 6), strict=True):
        rewound = {collection: at for _, collection, at in _of(noting, "rewind")}
        assert set(rewound.values()) == {step}
        assert "train" in rewound
        # A standalone evaluator is a process of its own.
        assert "apart" not in rewound


def test_profiler_counts_the_steps_of_its_process(starts):
    assert [step for _, step in _of(starts[0], "profile")] == [0, 1, 2, 3, 4, 5]
    assert [step for _, step in _of(starts[1], "profile")] == [0, 1, 2, 3]


def test_display_shows_the_updates_that_are_done(starts):
    shown = [[text for _, text in _of(noting, "shown")] for noting in starts]
    assert shown[0] == [f"{step}/6" for step in (1, 2, 3, 4, 5, 6)]
    assert shown[1] == [f"{step}/10" for step in (7, 8, 9, 10)]


def test_timings_tell_rates_waiting_and_each_kind_of_pause(starts):
    first, last = starts[0].timings[0], starts[0].timings[4]
    assert "compile/avg_time_sec" in first
    # Since step 2: steps 3 and 4, and between them an evaluation and a checkpoint.
    pauses = {x for x in last if x.endswith("avg_time_sec")}
    assert pauses == {
        "evals_along_train/avg_time_sec",
        "checkpoint/avg_time_sec",
        "metrics_writing/avg_time_sec",
    }
    per_sec = last["perf_stats/steps_per_sec"]
    examples = {"global": 16 * per_sec, "per_device": 16 * per_sec / 8}
    for name, expected in examples.items():
        found = last[f"perf_stats/data_points_per_sec_{name}"]
        assert found == pytest.approx(expected)
    waited_secs = last["perf_stats/data_wait_fraction"] * 2 / per_sec
    assert waited_secs >= 2 * _BATCH_SECS


def test_total_time_grows_from_start_to_start(starts):
    name = "perf_stats/total_training_time_hours"
    hours = [x[name] for noting in starts for x in noting.timings.values()]
    assert len(hours) == 5
    assert hours[0] > 0
    assert hours == sorted(hours)
