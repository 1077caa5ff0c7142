"""`cfg.xm_job = kxm.Job(...)`: what `kauldron launch` makes of it."""

from __future__ import annotations

import pytest

from kauldron import konfig, launch
from kauldron.launch import _backend

with konfig.imports():
    from kauldron import kd, kxm


def _to_job(cfg, **asked):
    defaults = {
        "args": ("--cfg=config.py",),
        "workdir": "runs/a",
        "on": None,
        "num_processes": None,
        "max_restarts": 20,
        "resources": {},
    }
    return launch.describe_launch(cfg).to_job(**{**defaults, **asked})


def _config(**job) -> konfig.ConfigDict:
    return konfig.ConfigDict({"xm_job": kxm.Job(**job), "workdir": "runs/a"})


@pytest.mark.parametrize(
    "cfg", [konfig.ConfigDict(), kd.train.Trainer(), _config(), _config(priority=100)]
)
def test_without_a_description_a_run_is_one_process_of_this_machine(cfg):
    assert _to_job(cfg) == launch.Job(args=("--cfg=config.py",), workdir="runs/a")


def test_an_executor_says_where_and_the_command_line_goes_before_it():
    cfg = _config(executor=kd.launch.Slurm(partition="gpu", nodes=2, time="2:00:00"))
    job = _to_job(cfg)
    assert job.slurm == launch.Slurm(partition="gpu", nodes=2, time="2:00:00")
    assert job.task.num_processes == 2
    job = _to_job(cfg, resources={"nodes": 4, "partition": "cpu"}, num_processes=8)
    assert job.slurm == launch.Slurm(partition="cpu", nodes=4, time="2:00:00")
    assert job.task.num_processes == 8
    assert _to_job(cfg, on="local").slurm is None
    assert _to_job(_config(executor=kd.launch.Local(parallel=2))).slurm is None


def test_a_platform_is_a_type_and_number_of_gpus():
    job = _to_job(_config(platform="h100=8"), on="slurm")
    assert job.slurm == launch.Slurm(gpus_per_node=8, gpu_type="h100")
    assert _to_job(_config(platform="a100=2")).gpus == 2
    assert _to_job(_config(platform="cpu")).gpus == 0


def test_batches_that_processes_cannot_share_are_told_before_any_is_started():
    cfg = kd.train.Trainer(train_ds=kd.data.py.DataSource([], batch_size=64))
    assert _to_job(cfg, num_processes=4).num_processes == 4
    message = r"`cfg\.train_ds\.batch_size` must divide .* got 64 for 3 .* Use 63 or 66"
    with pytest.raises(_backend.LaunchError, match=message):
        _to_job(cfg, num_processes=3)


def test_requirements_are_resources_of_nodes():
    requirements = {
        "replicas": 2,
        "processes": 4,
        "h100": 8,
        "cpu": 16,
        "ram": 64 * 2**30,
        "time": 90,
        "location": "gpu",
    }
    job = _to_job(_config(requirements=requirements), on="slurm")
    assert job.slurm == launch.Slurm(
        nodes=2,
        gpus_per_node=8,
        gpu_type="h100",
        cpus_per_node=16,
        mem_gb=64,
        time=90,
        partition="gpu",
    )
    assert job.task.num_processes == 4


def test_arguments_and_variables_reach_the_run_before_those_of_the_command_line():
    cfg = _config(
        args={"eval_names": ["a", "b"], "cfg.seed": 3, "debug": True},
        env_vars={"NCCL_DEBUG": "INFO", "OMP_NUM_THREADS": 4},
    )
    job = _to_job(cfg)
    assert job.args == (
        "--eval_names=a,b",
        "--cfg.seed=3",
        "--debug=true",
        "--cfg=config.py",
    )
    assert job.env == {"NCCL_DEBUG": "INFO", "OMP_NUM_THREADS": "4"}


def test_what_to_record_while_it_runs_becomes_flags_and_variables(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_a=1")
    monkeypatch.chdir("/")
    debug = kxm.Debug(dump_hlo=True, jax_log_compiles=True, catch_post_mortem=True)
    job = _to_job(_config(debug=debug))
    assert job.args == ("--catch_post_mortem", "--cfg=config.py")
    assert job.env == {
        "XLA_FLAGS": "--xla_a=1 --xla_dump_to=/runs/a/hlo",
        "JAX_LOG_COMPILES": "1",
    }


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"platform": "v5e=4x4"},
            "platform` is GPUs of a node.*'v5e=4x4'.*not on TPUs",
        ),
        ({"requirements": {"node": 2}}, "has no 'node'. Did you mean 'nodes'"),
        ({"requirements": {"h100": "many"}}, "has no 'h100'"),
        ({"executor": kd.launch.Job}, "executor` is a `kd.launch.Slurm"),
        ({"platfrom": "h100=8"}, "xm_job` has no 'platfrom'. Did you mean 'platform'"),
    ],
)
def test_what_cannot_be_obeyed_is_told(fields, message):
    with pytest.raises((_backend.LaunchError, konfig.ConfigError), match=message):
        _to_job(_config(**fields))


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (
            {"on": "slrum"},
            "`--on` is local or slurm, got 'slrum'. Did you mean 'slurm'",
        ),
        ({"resources": {"partition": "gpu"}}, "`--partition` is for `--on=slurm`"),
        ({"resources": {"nodes": 2}}, "This machine is one node; `--nodes=2`"),
        ({"num_processes": -1}, "`num_processes` of a job is at least 1, got -1"),
    ],
)
def test_what_makes_no_sense_on_the_command_line_is_told(asked, message):
    with pytest.raises(_backend.LaunchError, match=message):
        _to_job(_config(), **asked)
