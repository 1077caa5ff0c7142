"""What importing costs, and that it does nothing else."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest


def _modules_after(program: str) -> set[str]:
    out = subprocess.run(
        [
            sys.executable,
            "-c",
            f"{program}\nimport sys, json\nprint(json.dumps(list(sys.modules)))",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    return set(json.loads(out.stdout))


def test_the_facade_imports_no_array_library():
    loaded = _modules_after("from kauldron import kd")
    assert not loaded & {"jax", "flax", "numpy", "optax", "orbax", "grain"}


def test_language_imports_no_array_library():
    loaded = _modules_after("from kauldron import konfig, kontext")
    assert not loaded & {"jax", "flax", "numpy"}


@pytest.mark.parametrize(
    "program",
    [
        "from kauldron.evals import run_strategies",
        "from kauldron import kd\nkd.evals.EveryNSteps(10)",
    ],
)
def test_when_to_evaluate_is_said_without_an_array_library(program):
    loaded = _modules_after(program)
    assert not loaded & {"jax", "flax", "numpy", "optax", "orbax", "grain"}


def test_training_rooms_import_nothing_heavy():
    loaded = _modules_after(
        "from kauldron import kd\n"
        "kd.train.Trainer, kd.data.py.DataSource, kd.evals.Evaluator, kd.ckpts, kd.nn"
    )
    forbidden = {"tensorflow", "clu", "torch", "typeguard", "xmanager", "matplotlib"}
    assert not loaded & (forbidden | {"tensorboardX", "orbax", "sklearn"})


def test_what_every_run_writes_needs_no_client_of_a_tracker_or_a_cloud(tmp_path):
    loaded = _modules_after(
        "from kauldron import kd\n"
        f"writer = kd.train.KDMetricWriter(workdir={str(tmp_path)!r}, collection='x')\n"
        "writer.write_scalars(0, {'loss': 0.5})\n"
        "writer.write_texts(0, {'note': 'a'})\n"
        "writer.write_hparams({'rate': 0.1})\n"
        "writer.close()"
    )
    assert list((tmp_path / "x").glob("events.out.tfevents.*"))
    assert not loaded & {"tensorboardX", "boto3", "botocore", "urllib3", "PIL"}


@pytest.mark.parametrize(
    ("module", "names"),
    [
        ("kauldron.train.train_step", ["TrainState", "TrainStep", "forward"]),
        ("kauldron.train.train_step", ["forward_with_loss"]),
        ("kauldron.train.trainer_lib", ["Trainer"]),
        ("kauldron.train.auxiliaries", ["Auxiliaries", "AuxiliariesState"]),
        ("kauldron.train.auxiliaries", ["AuxiliariesOutput"]),
        (
            "kauldron.train.metric_writer",
            ["WriterBase", "KDMetricWriter", "NoopWriter"],
        ),
        ("kauldron.train.context", ["Context"]),
        ("kauldron.evals.evaluators", ["Evaluator", "EvaluatorBase", "CollectionKeys"]),
        ("kauldron.evals.run_strategies", ["EveryNSteps", "Once", "Final"]),
        ("kauldron.data.py.base", ["PyGrainPipeline", "DataSourceBase"]),
        ("kauldron.data.utils", ["get_model_inputs"]),
        ("kauldron.metrics.base", ["Metric"]),
        ("kauldron.metrics.base_state", ["State", "AverageState"]),
        ("kauldron.losses.base", ["Loss", "compute_losses"]),
        ("kauldron.utils.config_util", ["ROOT_CFG_REF", "UpdateFromRootCfg"]),
        ("kauldron.utils.config_util", ["BaseConfig"]),
        ("kauldron.utils.immutabledict", ["ImmutableDict", "freeze_dict_attrs"]),
        ("kauldron.utils.sharding_utils", ["sharding"]),
        ("kauldron.utils.status_utils", ["log"]),
    ],
)
def test_published_path_has_its_names(module, names):
    imported = __import__(module, fromlist=names)
    for name in names:
        assert hasattr(imported, name)


def test_importing_the_package_as_kd_says_what_to_write():
    import kauldron

    with pytest.raises(AttributeError, match="from kauldron import kd"):
        _ = kauldron.train_losses


def test_misspelt_room_suggests_the_nearest():
    from kauldron import kd

    with pytest.raises(AttributeError, match="Did you mean 'losses'"):
        _ = kd.loses


def test_files_of_a_lazy_room_are_its_attributes_as_if_all_had_been_imported():
    code = (
        "from kauldron import losses, metrics\n"
        "assert metrics.auto_state.sum_field is metrics.sum_field\n"
        "assert losses.base.Loss is losses.Loss\n"
        "assert not hasattr(metrics, 'auto_stat')\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
