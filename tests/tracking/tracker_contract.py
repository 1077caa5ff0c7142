"""What every tracker does, given fixtures `tracker` and `read`.

`read(id)` returns what the tracker has: a dict of `name`, `params` (name -> text),
`points` (metric -> [(step, value), ...]), `tags`, `artifacts` (name -> text), `status`
(`running`, `done`, `interrupted`, `failed`), `message`, `parent`.
"""

from __future__ import annotations

import math

import pytest

from kauldron import kd


def point(step, time=1e9, **values):
    """`point(3, train__loss=1.0)`: the metric `train.loss` at step 3."""
    named = {name.replace("__", "."): value for name, value in values.items()}
    return kd.tracking.Point(step, named, time + step)


class Contract:
    """Tests of a tracker; runs are named anew by each."""

    name = "digits"

    @pytest.fixture
    def start(self, tracker, tmp_path):
        def begin(**fields):
            kwargs = {"name": self.name, **fields}
            workdir = tmp_path / "workdirs" / kwargs["name"]
            workdir.mkdir(exist_ok=True, parents=True)
            kwargs["workdir"] = str(workdir)
            return tracker.start(kd.tracking.RunStart(**kwargs))

        return begin

    def test_it_is_a_tracker(self, tracker):
        assert isinstance(tracker, kd.tracking.Tracker)

    def test_a_run_is_kept_with_all_that_was_said_of_it(self, start, read, tmp_path):
        (tmp_path / "notes.txt").write_text("hello")
        run = start()
        run.log_params({"optimizer.rate": 1e-3, "layers[0].size": 8, "is_big": False})
        run.log_metrics([point(0, train__loss=2.5), point(1, train__loss=1.5)])
        run.log_metrics([point(1, eval__accuracy=0.5)])
        run.set_tags({"team": "vision"})
        run.log_artifact(tmp_path / "notes.txt", "texts/notes.txt")
        run.end("done")
        kept = read(run.id)
        assert kept["name"] == self.name
        assert kept["params"]["optimizer.rate"] == "0.001"
        assert kept["params"]["is_big"] == "False"
        assert "8" in kept["params"].values()
        assert kept["points"]["train.loss"] == [(0, 2.5), (1, 1.5)]
        assert kept["points"]["eval.accuracy"] == [(1, 0.5)]
        assert kept["tags"]["team"] == "vision"
        assert kept["artifacts"]["texts/notes.txt"] == "hello"
        assert kept["status"] == "done"

    @pytest.mark.parametrize("status", ["interrupted", "failed"])
    def test_a_run_that_broke_off_says_so_and_why(self, start, read, status):
        run = start()
        run.end(status, "ValueError: bad batch")
        kept = read(run.id)
        assert (kept["status"], kept["message"]) == (status, "ValueError: bad batch")

    def test_a_run_goes_on_under_its_id(self, start, read):
        first = start()
        first.log_metrics([point(0, train__loss=2.5)])
        first.end("interrupted", "SIGTERM")
        second = start(id=first.id)
        assert second.id == first.id
        second.log_metrics([point(1, train__loss=1.5)])
        second.end("done")
        kept = read(first.id)
        assert kept["points"]["train.loss"] == [(0, 2.5), (1, 1.5)]
        assert kept["status"] == "done"

    def test_a_part_knows_the_run_that_it_is_a_part_of(self, start, read):
        whole = start()
        part = start(name="part", parent=whole.id)
        part.log_metrics([point(0, train__loss=1.0)])
        part.end("failed", "no")
        whole.log_metrics([point(0, train__loss=2.0)])
        whole.end("done")
        assert read(part.id)["parent"] == whole.id
        assert read(part.id)["points"]["train.loss"] == [(0, 1.0)]
        assert read(whole.id)["points"]["train.loss"] == [(0, 2.0)]
        assert [read(x.id)["status"] for x in (part, whole)] == ["failed", "done"]

    def test_no_parameter_is_cut(self, start, read):
        long = "x" * 20_000
        run = start()
        run.log_params({"short": "a", "long": long})
        run.end("done")
        kept = read(run.id)
        whole = kept["artifacts"].get("long_values.json", kept["params"]["long"])
        assert long in whole
        assert kept["params"]["short"] == "a"

    def test_numbers_that_are_not_finite_are_kept(self, start, read):
        run = start()
        run.log_metrics(
            [point(0, train__loss=math.nan), point(1, train__loss=math.inf)]
        )
        run.end("done")
        kept = read(run.id)
        (_, first), (_, second) = kept["points"]["train.loss"]
        assert math.isnan(first)
        assert math.isinf(second) or "inf at step 1" in str(kept["tags"])
