"""Kauldron's declaration of its names to konfig; see `konfig.PackageDeclaration`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kauldron import konfig


def default_values() -> Iterator[Any]:
    """Yields calls with the arguments that overrides are to find from the start."""
    with konfig.imports(lazy=True):
        from kauldron import kd, kxm

    yield kxm.Job(args={}, env_vars={}, files={})
    yield kxm.Experiment(args={}, env_vars={}, files={}, sweep=konfig.placeholder())
    for strategy in (
        kd.evals.StandaloneEveryCheckpoint,
        kd.evals.StandaloneLastCheckpoint,
    ):
        yield strategy(args={}, env_vars={}, files={})
    yield kd.train.Trainer(
        workdir=konfig.placeholder(str),
        writer=kd.train.KDMetricWriter(),
        evals={},
        schedules={},
        setup=kd.train.Setup(),
        xm_job=kxm.Job(),
    )
    eval_only = kd.train.Trainer.eval_only(
        workdir=konfig.placeholder(str),
        writer=kd.train.KDMetricWriter(),
        aux={"workdir": konfig.placeholder(str), "step": -1, "trusted": ()},
        evals={},
        schedules={},
        num_train_steps=0,
        stop_after_steps=0,
        optimizer=None,
        checkpointer=None,
        setup=kd.train.Setup(eval_only=True),
        xm_job=kxm.Job(),
    )
    aux = eval_only.ref.aux
    eval_only.train_ds = kd.data.tf.ElementSpecDataset(
        spec=kd.train.workdirs.get_element_spec(aux.workdir)
    )
    eval_only.model = kd.train.workdirs.get_resolved(
        aux.workdir, path="model", trusted=aux.trusted
    )
    eval_only.init_transform = kd.ckpts.PartialKauldronLoader(
        workdir=aux.workdir,
        step=aux.step,
        new_to_old={"step": "step", "params": "params", "collections": "collections"},
    )
    yield eval_only


DECLARATION = konfig.PackageDeclaration(
    default_values=default_values,
    aliases={
        "gemma.gm": "gm",
        "kauldron.kd": "kd",
        "kauldron.konfig": "konfig",
        "kauldron.kxm": "kxm",
    },
    # Module that an extra in `pyproject.toml` installs -> that extra.
    extras={
        "httpx": "apps",
        "multipart": "apps",
        "sklearn": "demo",
        "tensorboard": "demo",
        "pydicom": "dicom",
        "material": "docs",
        "mkdocs": "docs",
        "mkdocstrings": "docs",
        "equinox": "equinox",
        "flatbuffers": "export",
        "matplotlib": "figures",
        "h5py": "hdf5",
        "datasets": "huggingface",
        "submitit": "launch",
        "jinja2": "lm",
        "pyarrow": "parquet",
        "tokenizers": "lm",
        "onnx": "onnx",
        "onnxruntime": "onnx",
        "safetensors": "safetensors",
        "fastapi": "web",
        "llguidance": "serve",
        "prometheus_client": "serve",
        "uvicorn": "web",
        "rapidfuzz": "text",
        "rouge_score": "text",
        "sacrebleu": "text",
        "alembic": "sql",
        "fsspec": "tracking",
        "plotext": "tracking",
        "sqlalchemy": "sql",
        "textual": "tracking",
        "yaml": "tracking",
        "optuna": "tune",
        "mlflow": "mlflow",
        "psycopg": "postgres",
        "redis": "redis",
        "s3fs": "s3",
        "wandb": "wandb",
        "nibabel": "volumes",
        "zarr": "zarr",
        "flit_core": "test",
        "anthropic": "test",
        "fakeredis": "test",
        "gguf": "test",
        "hypothesis": "test",
        "ipykernel": "test",
        "moto": "test",
        "nbclient": "test",
        "openai": "test",
        "pytest": "test",
        "pytest_timeout": "test",
        "skimage": "test",
        "SimpleITK": "test",
        "xdist": "test",
        "cosmic_ray": "mutants",
        "importlinter": "dev",
        "pyright": "dev",
        "ruff": "dev",
    },
    moved={
        "kauldron.evals.checkpoint_eval": "kauldron.evals",
        "kauldron.evals.continuous_eval": "kauldron.evals",
        "kauldron.train._profiler": "kauldron.inspect",
        "kauldron.train.state": "kauldron.train",
    },
    # Functions of arrays, and components whose constructors do no work.
    trusted=(
        "kauldron.contrib",
        "kauldron.losses",
        "kauldron.metrics",
        "kauldron.modules",
        "kauldron.optim",
        "kauldron.random",
        "kauldron.sharding",
        "kauldron.sharding:FIRST_DIM",
        "kauldron.sharding:REPLICATED",
        "kauldron.step:Precision.from_name",
        "kauldron.train:Trainer.eval_only",
    ),
    # Rooms in which functions read, write or run; their components are safe.
    trusted_classes=(
        "kauldron.checkpoints",
        "kauldron.data",
        "kauldron.evals",
        "kauldron.export",
        "kauldron.inspect",
        "kauldron.kontext",
        "kauldron.kxm",
        "kauldron.lm",
        "kauldron.recording",
        "kauldron.rl",
        "kauldron.step",
        "kauldron.summaries",
        "kauldron.train",
        "kauldron.utils.immutabledict",
        "kauldron.volumes",
    ),
    # They read what they are pointed to, and may unpickle or run it; or write.
    not_trusted=(
        "kauldron.contrib.nn:get_model_from_xid",
        "kauldron.data.py:ArrayRecord",
        "kauldron.data.py:HuggingFace",
        "kauldron.data.py:ImageFolder",
        "kauldron.data.py:Parquet",
        "kauldron.lm:GgufFile",
        "kauldron.metrics.networks:save",
    ),
    namespaces=("kauldron.kd", "kauldron.utils.sharding_utils"),
)
