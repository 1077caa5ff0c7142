"""What cannot be written is one line and exit code 2, and nothing is left behind."""

from __future__ import annotations

from kauldron import tracking
from kauldron.cli import comparing, data_files, new
from tests.tracking.registry import made_runs


def test_what_cannot_be_written_is_a_mistake_in_one_line(call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tracking.Workspace.create()
    made_runs.make(tmp_path / "runs" / "a", curve=[0.5, 0.75])
    tracking.Registry.open().index("runs")
    (tmp_path / "table.csv").write_text("x\n1\n")
    (tmp_path / "file").write_text("no folder")
    before = {path for path in tmp_path.rglob("*") if path.suffix != ".lock"}
    for function, *args in (
        (new.main, "proj", "--out=file/proj"),
        (comparing.report, "a", "--out=file/report"),
    ):
        code, out, err = call(function, *args)
        assert (code, out) == (2, ""), err
        assert "cannot be written: " in err
        assert len(err.splitlines()) == 1, err
    for function, *args in (
        (data_files.convert, "table.csv", "file/x.npz"),
        (comparing.plot, "a", "--metric=eval.accuracy", "--out=new/a.png"),
    ):
        code, out, err = call(function, *args)
        assert (code, out) == (2, ""), err
        assert err.startswith("Error: There is no folder ")
        assert len(err.splitlines()) == 1, err
    assert {p for p in tmp_path.rglob("*") if p.suffix != ".lock"} == before
