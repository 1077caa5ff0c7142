"""`kauldron launch` and its verbs, on configs that act while they are loaded."""

from __future__ import annotations

import json
import pathlib
import re
import textwrap

import pytest

from kauldron.cli import launch

ROOT = pathlib.Path(__file__).parents[2]

# The launcher loads the config as well: only the processes of the run have a place.
_ACTS = """
    import os, sys
    from kauldron import konfig
    with konfig.imports():
        from kauldron import kxm
    def get_config():
        if place := os.environ.get('KAULDRON_DISTRIBUTED'):
            print('process', place.split(',')[1:], sys.argv[1:])
            sys.exit({code})
        cfg = konfig.ConfigDict({{'seed': 0, 'workdir': None, 'xm_job': kxm.Job()}})
        return cfg
"""


@pytest.fixture
def config(tmp_path, monkeypatch):
    """Returns a function that makes a config whose runs end with an exit code."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))

    def make(code: int) -> str:
        path = tmp_path / "config.py"
        path.write_text(textwrap.dedent(_ACTS).format(code=code))
        return f"--cfg={path}"

    return make


def test_launch_starts_the_processes_and_logs_ps_and_cancel_find_them(
    call, config, tmp_path
):
    workdir = tmp_path / "two"
    flags = (config(0), f"--cfg.workdir={workdir}", "--cfg.seed=7")
    code, out, _ = call(launch.main, "--on", "local", "--processes=2", *flags)
    assert code == 0
    line = f"process ['0', '2'] {list(flags)}"
    assert line in out.splitlines()
    assert "['1', '2']" not in out

    code, out, _ = call(launch.logs, "-f", f"--workdir={workdir}")
    assert code == 0
    assert f"[0] {line}" in out.splitlines()
    assert f"[1] {line.replace('0', '1', 1)}" in out.splitlines()

    code, out, _ = call(launch.ps)
    assert out.splitlines()[1].split() == [str(workdir), "local", "done", "2", "0"]
    code, out, _ = call(launch.ps, "--json")
    (job,) = json.loads(out)
    assert (job["workdir"], job["state"], job["exit_code"]) == (str(workdir), "done", 0)

    code, out, _ = call(launch.cancel, str(workdir))
    assert (code, out) == (0, "The run is over already: done.\n")


def test_the_exit_code_is_that_of_the_run(call, config, tmp_path):
    code, out, _ = call(launch.main, config(3), f"--cfg.workdir={tmp_path / 'a'}")
    assert code == 3
    assert "process []" in out


def test_a_detached_run_is_told_with_what_follows_and_ends_it(call, config, tmp_path):
    workdir = tmp_path / "a"
    code, out, _ = call(launch.main, "--detach", config(0), f"--cfg.workdir={workdir}")
    assert code == 0
    assert f"kauldron launch logs -f --workdir={workdir}" in out
    assert f"kauldron launch cancel --workdir={workdir}" in out
    code, out, _ = call(launch.logs, "-f", str(workdir))
    assert "process []" in out


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ((), "Say where the run is kept"),
        (("--cfg.workdir=a", "--on=slrum"), "Did you mean 'slurm'"),
        (("--cfg.workdir=a", "--on=slurm"), "no Slurm on this machine"),
        (
            ("--cfg.workdir=a", "--processes=0"),
            "`--processes` takes an int of at least 1",
        ),
        (("--cfg.workdir=a", "--cfg.sed=1"), "Did you mean .*seed"),
    ],
)
def test_mistakes_are_told_and_nothing_is_started(
    call, config, tmp_path, monkeypatch, flags, message
):
    monkeypatch.setenv("PATH", str(tmp_path))
    flags = [flag.replace("=a", f"={tmp_path / 'a'}") for flag in flags]
    code, _, err = call(launch.main, config(0), *flags)
    assert code == 2
    assert re.search(message, err)
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize("verb", [launch.logs, launch.cancel])
def test_a_workdir_without_a_job_is_told(call, config, tmp_path, verb):
    code, _, err = call(verb, str(tmp_path / "nothing"))
    assert code == 2
    assert "nothing was started there with `kauldron launch`" in err
