"""Writers and evaluators that were written for the published `write_step_metrics`."""

from __future__ import annotations

import dataclasses
import threading

import numpy as np
import pytest

from kauldron import kd
from tests.train import small_run


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Intercepting(kd.train.WriterBase):
    """Looks at the states before they are computed, and hands on what it likes."""

    @property
    def noted(self):
        return vars(self).setdefault("_noted", {"calls": [], "written": []})

    def write_step_metrics(
        self, *, step, aux, schedules, log_summaries, timer=None, flush=True
    ):
        accuracy = aux.compute().metric_values["metrics/accuracy"]
        rates = timer.flush_metrics() if timer is not None else {}
        values = {k: schedule(step) for k, schedule in schedules.items()}
        assert not log_summaries  # the run has none
        self.noted["calls"].append((step, type(aux), float(accuracy), values, rates))
        return super().write_step_metrics(
            step=step,
            aux=dataclasses.replace(aux, loss_states=None),
            schedules={},
            log_summaries=log_summaries,
            flush=flush,
        )

    def write_scalars(self, step, scalars):
        thread = threading.current_thread().name
        self.noted["written"].append((step, dict(scalars), thread))


def _train(tmp_path, writer, **kwargs):
    trainer = small_run.make_trainer(
        tmp_path, writer=writer, num_train_steps=6, **kwargs
    )
    trainer.train()
    return trainer


@pytest.mark.parametrize("is_alone", [True, False])
def test_a_writer_that_overrides_it_is_given_states_schedules_and_a_timer(
    tmp_path, is_alone
):
    writer = Intercepting()
    if not is_alone:
        writer = {"files": kd.train.KDMetricWriter(), "mine": writer}
    schedules = {"half": lambda step: step / 2}
    trainer = _train(tmp_path, writer, schedules=schedules)
    noted = (trainer.writer if is_alone else trainer.writer.parts()["mine"]).noted
    assert [call[0] for call in noted["calls"]] == [0, 2, 4]
    for step, kind, accuracy, values, rates in noted["calls"]:
        assert kind is kd.train.AuxiliariesState
        assert values["half"] == step / 2
        assert rates["perf_stats/total_training_time_hours"] > 0
        # What it has handed on is written once, by a thread of its own.
        [(scalars, thread)] = [x[1:] for x in noted["written"] if x[0] == step]
        assert scalars == {"metrics/accuracy": accuracy}
        name = "Intercepting" if is_alone else "mine"
        assert thread == f"kauldron the writer {name!r}"
    if not is_alone:
        lines = small_run.records(tmp_path, "train")
        assert [line["step"] for line in lines] == [0, 2, 4]
        assert all("losses/total" in x and "schedules/half" in x for x in lines)
        timings = (tmp_path / "timings.jsonl").read_text().splitlines()
        assert len(timings) == 3


def test_an_override_that_raises_is_told_and_stops_neither_run_nor_other_writers(
    tmp_path, capfd
):
    class Broken(Intercepting):
        def write_step_metrics(self, **kwargs):
            raise LookupError("no tracker")

    _train(tmp_path / "alone", Broken())
    writers = {"files": kd.train.KDMetricWriter(), "mine": Broken()}
    _train(tmp_path / "both", writers)
    assert [r["step"] for r in small_run.records(tmp_path / "both", "train")] == [
        0,
        2,
        4,
    ]
    err = capfd.readouterr().err
    assert err.count("cfg.writer failed; this stops nothing") == 1
    assert err.count("the writer 'mine' failed; this stops nothing") == 1
    assert "failed 3 times (LookupError: no tracker" in err


def test_an_evaluator_that_calls_it_gets_values_that_are_written_once_and_in_order(
    tmp_path,
):
    seen = []

    class Measuring(kd.evals.EvaluatorBase):
        def evaluate(self, state, step):
            value = metrics_state(step)
            for part in ("a", "b"):  # several at one step, and to another collection
                values = self.writer.replace(collection=part).write_step_metrics(
                    step=step,
                    aux=kd.train.AuxiliariesState(metric_states={"m": value}),
                    schedules={"lr": lambda i: i / 10},
                    log_summaries=True,
                )
                seen.append((step, values.metric_values["metrics/m"]))
                assert values.loss_values == {}

    def metrics_state(step):
        return kd.metrics.AverageState.from_values(np.float32([step, step + 1]))

    run = kd.evals.EveryNSteps(2)
    _train(tmp_path, kd.train.KDMetricWriter(), evals={"own": Measuring(run=run)})
    steps = [0, 2, 4, 6]
    assert seen == [(i, i + 0.5) for i in steps for _ in "ab"]
    for part in ("a", "b"):
        assert small_run.records(tmp_path, part) == [
            {
                "step": i,
                "collection": part,
                "metrics/m": i + 0.5,
                "schedules/lr": pytest.approx(i / 10),
            }
            for i in steps
        ]
