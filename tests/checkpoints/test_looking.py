"""Looking at checkpoints without a model: arrays, tables, commands, safetensors."""

from __future__ import annotations

import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy
from absl import flags

from kauldron import kd
from kauldron.cli import ckpt, main
from kauldron.sharding import TrainState

_KERNEL = np.arange(6, dtype=np.float32).reshape(2, 3)


def _state(scale: float) -> TrainState:
    return TrainState(
        step=jnp.int32(scale),
        params={
            "dense": {
                "kernel": scale * jnp.asarray(_KERNEL),
                "bias": jnp.full(3, scale, jnp.bfloat16),
            }
        },
        collections={},
        opt_state=({"mu": jnp.zeros(3)},),
    )


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    path = tmp_path_factory.mktemp("run")
    with kd.ckpts.Checkpointer(workdir=path, save_interval_steps=1) as checkpointer:
        for step, loss in [(1, 0.5), (2, 0.25), (3, 0.75)]:
            metrics = {"test": {"losses/total": loss}}
            checkpointer.save(_state(step), step=step, metrics=metrics)
    config = {"best_metric_path": "test['losses/total']", "best_mode": "min"}
    (path / "config.json").write_text(json.dumps({"checkpointer": config}))
    return path


@pytest.fixture
def call(capfd):
    """Calls a command in this process; returns exit code, stdout and stderr."""

    def call(command, *args) -> tuple[int, str, str]:
        capfd.readouterr()
        argv = ["kauldron", *map(str, args)]
        code = command(argv, flag_values=flags.FlagValues())
        return (code, *capfd.readouterr())

    return call


def test_arrays_of_a_run(workdir):
    arrays = kd.ckpts.load_arrays(workdir)
    assert set(arrays) == {
        "step",
        "params.dense.kernel",
        "params.dense.bias",
        "opt_state.0.mu",
    }
    assert all(type(array) is np.ndarray for array in arrays.values())
    np.testing.assert_array_equal(arrays["params.dense.kernel"], 3 * _KERNEL)
    assert arrays["params.dense.bias"].dtype == jnp.bfloat16


def test_some_arrays_nested_of_a_step(workdir):
    nested = kd.ckpts.load_arrays(workdir, 1, paths=["params.*.kernel"], nested=True)
    assert list(nested) == ["params"]
    np.testing.assert_array_equal(nested["params"]["dense"]["kernel"], _KERNEL)


def test_damage_is_noticed_unless_unwanted(workdir, tmp_path):
    shutil.copytree(workdir, tmp_path / "run")
    bad = tmp_path / "run/checkpoints/ckpt_3/state/_sharding"
    bad.write_bytes(bad.read_bytes() + b" ")
    with pytest.raises(
        kd.ckpts.DamagedCheckpointError, match=r"_sharding: has .* bytes"
    ):
        kd.ckpts.load_arrays(tmp_path / "run")
    assert kd.ckpts.load_arrays(tmp_path / "run", verify=False)["step"] == 3


def test_ls(workdir, tmp_path, call):
    shutil.copytree(workdir, tmp_path / "run")
    checkpoints = tmp_path / "run/checkpoints"
    (checkpoints / "ckpt_3/state/_METADATA").write_text("")
    (checkpoints / "ckpt_1/checksums.json").unlink()
    (checkpoints / "ckpt_9.damaged").mkdir()
    code, out, _ = call(ckpt.ls, tmp_path / "run")
    assert code == 0
    header, *rows, aside = [line.split() for line in out.splitlines()]
    assert header == ["step", "saved", "size", "state", "metrics"]
    assert [row[0] for row in rows] == ["1", "2", "3"]
    assert [row[5:] for row in rows] == [
        ["unverified", "test.losses/total=0.5"],
        ["ok,", "best", "test.losses/total=0.25"],
        ["DAMAGED", "test.losses/total=0.75"],
    ]
    assert aside == ["ckpt_9.damaged:", "damaged,", "moved", "aside"]


def test_show(workdir, call):
    code, out, _ = call(ckpt.show, workdir, "--step=2", "--paths=params")
    assert code == 0
    assert [line.split() for line in out.splitlines()[1:]] == [
        ["params.dense.bias", "bfloat16[3]", "6", "B"],
        ["params.dense.kernel", "float32[2,", "3]", "24", "B"],
        ["2", "arrays,", "9", "numbers,", "30", "B"],
    ]


def test_best_and_latest_step_by_name(workdir, call):
    for step, kernel_norm in [("best", 2), ("latest", 3), ("1", 1)]:
        code, out, _ = call(ckpt.show, workdir, f"--step={step}")
        assert code == 0
        assert out.splitlines()[0].endswith(f"ckpt_{kernel_norm}")
        code, out, _ = call(ckpt.verify, workdir, f"--step={step}")
        assert (code, out) == (0, f"step {kernel_norm}: ok\n")
    code, _, err = call(ckpt.show, workdir, "--step=besst")
    assert code == 2
    assert "Did you mean 'best'?" in err


def test_metrics_with_dots_in_their_names_are_told_apart(tmp_path, call):
    metrics = {"a.b": {"c": 1.0}, "a": {"b.c": 2.0}}
    with kd.ckpts.Checkpointer(workdir=tmp_path, save_interval_steps=1) as checkpointer:
        checkpointer.save(_state(1), step=1, metrics=metrics)
    _, out, _ = call(ckpt.ls, tmp_path)
    assert "['a.b'].c=1, a['b.c']=2" in out


def test_diff_tells_norms_and_shapes(workdir, tmp_path, call):
    other = _state(3).replace(opt_state=({"nu": jnp.zeros(3)},))
    with kd.ckpts.Checkpointer(workdir=tmp_path, save_interval_steps=1) as checkpointer:
        checkpointer.save(other, step=0)
    code, out, _ = call(ckpt.diff, workdir, workdir / "checkpoints/ckpt_3")
    assert (code, out) == (0, "All arrays are the same.\n")
    code, out, _ = call(
        ckpt.diff, workdir, workdir / "checkpoints/ckpt_1", "--paths=kernel"
    )
    norms = [np.linalg.norm(scale * _KERNEL) for scale in (3, 1, 2)]
    assert code == 1
    assert out == (
        f"params.dense.kernel: norm {norms[0]:.6g} | {norms[1]:.6g}, of the difference "
        f"{norms[2]:.3g}\n"
    )
    code, out, _ = call(ckpt.diff, workdir, tmp_path)
    assert code == 1
    assert out.splitlines() == [
        "opt_state.0.mu: float32[3] in the first only",
        "opt_state.0.nu: float32[3] in the second only",
    ]


def test_verify(workdir, tmp_path, call):
    code, out, _ = call(ckpt.verify, workdir)
    assert (code, out) == (0, "step 1: ok\nstep 2: ok\nstep 3: ok\n")
    shutil.copytree(workdir, tmp_path / "run")
    bad = tmp_path / "run/checkpoints/ckpt_2/state/_METADATA"
    bad.write_bytes(bad.read_bytes().replace(b"i", b"j", 1))
    code, out, _ = call(ckpt.verify, tmp_path / "run")
    assert code == 1
    assert "step 2: DAMAGED\n  state/_METADATA: its content has changed\n" in out
    assert call(ckpt.verify, tmp_path / "run", "--step=3")[0] == 0


def test_export_to_numpy_and_safetensors(workdir, tmp_path, call):
    for name in ("x.npz", "x.safetensors"):
        code, out, _ = call(ckpt.export, workdir, tmp_path / name, "--paths=params")
        assert (code, out) == (0, f"{tmp_path / name}\n")
    expected = kd.ckpts.load_arrays(workdir, paths=["params"])
    with np.load(tmp_path / "x.npz") as arrays:
        assert set(arrays) == set(expected)
        np.testing.assert_array_equal(arrays["params.dense.bias"], np.full(3, 3.0))
    arrays = safetensors.numpy.load_file(tmp_path / "x.safetensors")
    assert set(arrays) == set(expected)
    for name, array in expected.items():
        assert arrays[name].dtype == array.dtype
        np.testing.assert_array_equal(arrays[name], array)


@pytest.mark.parametrize(
    ("command", "args", "message"),
    [
        (ckpt.ls, [], "No run: say which one"),
        (ckpt.diff, ["a"], "Say which two"),
        (ckpt.export, ["RUN"], "Say what and where to"),
        (
            ckpt.export,
            ["RUN", "x.h5"],
            r"exported to *.npz or *.safetensors: got 'x.h5'",
        ),
        (ckpt.export, ["RUN", "no/x.npz"], "no folder 'no'"),
        (ckpt.show, ["RUN", "--step=7"], "no step 7 in"),
        (ckpt.show, ["RUN", "--paths=kernl"], "Did you mean 'kernel'?"),
        (ckpt.ls, ["RUN", "extra"], "Unexpected argument 'extra'"),
        (ckpt.ls, ["nowhere"], "There is no workdir 'nowhere'"),
    ],
)
def test_mistakes_have_code_2(
    workdir, call, tmp_path, monkeypatch, command, args, message
):
    monkeypatch.chdir(tmp_path)
    code, _, err = call(command, *(workdir if a == "RUN" else a for a in args))
    assert code == 2
    assert message in err
    assert not list(tmp_path.iterdir())


def test_commands_are_listed(capsys):
    assert main.main(["kauldron", "help"]) == 0
    out = capsys.readouterr().out
    [line] = [x for x in out.splitlines() if x.startswith("  kauldron ckpt ")]
    assert line.split(maxsplit=2)[2] == "ls, show, diff, verify, export"


def test_safetensors_round_trip_in_shards(tmp_path):
    rng = np.random.default_rng(0)
    arrays = {
        "a": rng.normal(size=(4, 5)).astype(np.float32),
        "a_transposed": rng.normal(size=(4, 5)).T,
        "b.scalar": np.array(3, np.int8),
        "c": rng.normal(size=7).astype(jnp.bfloat16),
    }
    files = kd.ckpts.save_safetensors(
        arrays, tmp_path / "model.safetensors", max_shard_bytes=150
    )
    names = [f"model-0000{i}-of-00003.safetensors" for i in (1, 2, 3)]
    assert [f.name for f in files] == names
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    assert index["metadata"]["total_size"] == sum(a.nbytes for a in arrays.values())
    for path in (tmp_path, tmp_path / "model.safetensors.index.json"):
        lazy = kd.ckpts.SafetensorsFiles(path)
        assert set(lazy) == set(arrays)
        for name, array in arrays.items():
            assert lazy[name].dtype == array.dtype == lazy.specs()[name].dtype
            np.testing.assert_array_equal(lazy[name], array)


def test_safetensors_are_loaded_into_a_state(tmp_path):
    saved = {"enc.kernel": np.arange(16, dtype=np.float32).reshape(8, 2), "x": _KERNEL}
    safetensors.numpy.save_file(saved, tmp_path / "m.safetensors")
    state = TrainState(
        step=jnp.int32(0),
        params={
            "encoder": {
                "kernel": jax.device_put(
                    jnp.zeros((8, 2), jnp.bfloat16), kd.sharding.FIRST_DIM
                )
            },
            "head": jnp.ones(2),
        },
    )
    loader = kd.ckpts.SafetensorsLoader(
        tmp_path / "m.safetensors", {"params.encoder": "enc"}
    )
    loaded = loader.transform_after_optimizer(loader.transform(state)).params
    assert loaded["encoder"]["kernel"].sharding == kd.sharding.FIRST_DIM
    assert loaded["encoder"]["kernel"].dtype == jnp.bfloat16
    np.testing.assert_array_equal(loaded["encoder"]["kernel"], saved["enc.kernel"])
    np.testing.assert_array_equal(loaded["head"], [1, 1])


def test_safetensors_mistakes_are_told(tmp_path):
    safetensors.numpy.save_file({"w": _KERNEL}, tmp_path / "m.safetensors")
    (tmp_path / "bad.safetensors").write_text("no")
    with pytest.raises(FileNotFoundError, match=r"Did you mean 'm\.safetensors'\?"):
        kd.ckpts.SafetensorsFiles(tmp_path / "n.safetensors")
    with pytest.raises(kd.ckpts.CheckpointError, match="cannot be read as safetensors"):
        kd.ckpts.SafetensorsFiles(tmp_path / "bad.safetensors")
    with pytest.raises(kd.ckpts.CheckpointError, match="holds no 'v'"):
        kd.ckpts.SafetensorsFiles(tmp_path / "m.safetensors")["v"]
    with pytest.raises(kd.ckpts.CheckpointError, match=r"`\*\.safetensors`: got"):
        kd.ckpts.save_safetensors({}, tmp_path / "m.bin")
