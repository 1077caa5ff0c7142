"""As `raw_digits`, with what a run leaves behind and checks, each by hand in plain JAX.

A config that flags change; shapes checked before compiling; dropout by step and stream;
labels that are no classes counted; measurements as one array; the learning rate, a picture
and the numbers in files; a record of the packages and the commit. Needs no part of Kauldron.
"""

from __future__ import annotations

import importlib.metadata
import json
import pathlib
import subprocess
import sys
import threading
import zlib

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import optax
from absl import app, flags
from ml_collections import config_flags

from examples import digits_data
from tests.benchmarks import raw_digits

_DROPOUT = zlib.crc32(b"dropout")


def _config():
    return ml_collections.ConfigDict(
        {"seed": 42, "batch_size": 64, "learning_rate": 2e-3, "num_train_steps": 600}
    )


_CFG = config_flags.DEFINE_config_dict("cfg", _config())
_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run.")


def _record_launch(folder):
    packages = {
        x.metadata["Name"]: x.version for x in importlib.metadata.distributions()
    }
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    devices = [str(x) for x in jax.devices()]
    record = {"command": sys.argv, "git": commit, "devices": devices, **packages}
    (folder / "launch.json").write_text(json.dumps(record))


def _write_picture(folder, images):
    from PIL import Image

    rows = np.concatenate(np.asarray(images)[..., 0] * 255).astype(np.uint8)
    Image.fromarray(rows).save(folder / "images.png")


def main(argv):
    del argv
    cfg, folder = _CFG.value, pathlib.Path(_WORKDIR.value)
    folder.mkdir(parents=True)
    data = digits_data.Digits(split="train")
    order = np.random.default_rng(cfg.seed).permutation(len(data))
    examples = [data[i] for i in order[: cfg.batch_size]]
    batch = {
        "image": np.stack([x["image"] for x in examples]).astype(np.float32) / 16,
        "label": np.stack([x["label"] for x in examples]).astype(np.int32),
    }
    model, key = raw_digits.Model(), jax.random.key(cfg.seed)
    schedule = optax.cosine_decay_schedule(cfg.learning_rate, cfg.num_train_steps)
    optimizer = optax.adam(schedule)

    @jax.jit
    def init():
        params = model.init(key, batch["image"], is_training=False)["params"]
        return params, optimizer.init(params)

    @jax.jit
    def step(params, opt_state, batch, number):
        rng = jax.random.fold_in(jax.random.fold_in(key, number), _DROPOUT)

        def loss_fn(params):
            logits = model.apply(
                {"params": params},
                batch["image"],
                is_training=True,
                rngs={"dropout": rng},
            )
            labels, num_classes = batch["label"], logits.shape[-1]
            is_bad = (labels < 0) | (labels >= num_classes)
            labels = jnp.where(is_bad, 0, labels)
            losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
            losses = jnp.where(is_bad, 0, losses)
            hits = jnp.where(is_bad, 0, logits.argmax(-1) == labels)
            count = jnp.maximum(1, is_bad.size - is_bad.sum())
            measured = jnp.stack([losses.sum(), hits.sum(), count, is_bad.sum()])
            return losses.sum() / count, measured

        grads, measured = jax.grad(loss_fn, has_aux=True)(params)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        params = optax.apply_updates(params, updates)
        return params, opt_state, measured, batch["image"][:5]

    specs = jax.eval_shape(init)
    jax.eval_shape(step, *specs, batch, 0)
    params, opt_state = init()
    (folder / "config.json").write_text(cfg.to_json())
    beside = [threading.Thread(target=_record_launch, args=[folder])]
    beside[0].start()
    *_, measured, images = step(params, opt_state, jax.device_put(batch), 0)
    loss, hits, count, num_bad = np.asarray(measured).tolist()
    assert not num_bad
    numbers = {
        "loss": loss / count,
        "accuracy": hits / count,
        "learning_rate": float(jax.jit(schedule)(0)),
    }
    print("step 0", *(f"{k} {v:.4f}" for k, v in numbers.items()))
    (folder / "metrics.jsonl").write_text(json.dumps({"step": 0, **numbers}) + "\n")
    beside.append(threading.Thread(target=_write_picture, args=[folder, images]))
    beside[1].start()
    for thread in beside:
        thread.join()


if __name__ == "__main__":
    app.run(main)
