"""On the way to devices: texts stay, 64 bits become 32 without becoming other numbers."""

from __future__ import annotations

import dataclasses
import json

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from kauldron import kd, kontext


class _Dense(nn.Module):
    x: kontext.Key = "batch.x"

    @nn.compact
    def __call__(self, x):
        return nn.Dense(1)(x)


def _trainer(train_ds, tmp_path=None, **fields):
    loss = kd.losses.L2(preds="preds", targets="batch.y")
    return kd.train.Trainer(
        workdir=tmp_path,
        train_ds=train_ds,
        model=_Dense(),
        optimizer=optax.sgd(0.1),
        num_train_steps=2,
        train_losses={"loss": loss},
        sharding=kd.sharding.ShardingStrategy(batch=kd.sharding.REPLICATED),
        **fields,
    )


def _data(**columns):
    return kd.data.py.DataSource(
        {
            "x": np.zeros((4, 2), np.float32),
            "y": np.zeros((4, 1), np.float32),
            **columns,
        },
        shuffle=False,
        batch_size=2,
        seed=0,
    )


def test_a_text_as_input_of_the_model_is_called_one():
    texts = np.array(["a", "b", "c", "d"], object)
    with pytest.raises(ValueError) as caught:
        _trainer(_data(x=texts)).check()
    message = str(caught.value)
    assert "'x' holds texts, which stay on the host" in message
    assert message.count("holds texts") == 1
    assert "Did you mean" not in message


@pytest.mark.parametrize(
    ("value", "fits"),
    [
        (np.int64(2**31 - 1), True),
        (np.int64(2**31), False),
        (np.int64(-(2**31)), True),
        (np.int64(-(2**31) - 1), False),
        (np.uint64(2**32 - 1), True),
        (np.uint64(2**32), False),
        (np.float64(3.4e38), True),
        (np.float64(1e300), False),
        (np.float64("inf"), True),
        (np.float64("nan"), True),
        (np.float64(1e-300), True),
    ],
)
def test_numbers_that_32_bits_do_not_hold_become_the_limit_and_are_told(
    value, fits, capsys
):
    name = f"id_{value.dtype}_{value}".replace(".", "_")  # told once by key
    batch = {
        "a": {name: np.array([0, value, 1]).astype(value.dtype)},
        "text": np.array(["x"]),
    }
    moved = kd.data.utils.for_devices(batch)
    assert list(moved) == ["a"]
    seen = np.asarray(jnp.asarray(moved["a"][name]))
    limits = np.iinfo if value.dtype.kind in "iu" else np.finfo
    low, high = limits(seen.dtype).min, limits(seen.dtype).max
    expected = value if fits else (low if value < 0 else high)
    if value.dtype.kind == "f" and not fits:
        expected = np.inf
    np.testing.assert_equal(seen[1], np.asarray(expected).astype(seen.dtype))
    assert seen[[0, 2]].tolist() == [0, 1]
    assert (f"`batch.a.{name}` is {value.dtype}" in capsys.readouterr().err) != fits


def test_training_goes_on_beside_an_id_that_nothing_reads(tmp_path, capsys):
    ids = np.array([0, 2**40, 2, 2**40])  # in both batches
    state, _ = _trainer(_data(record_id=ids), tmp_path).train()
    assert int(state.step) == 2
    lines = [
        x for x in capsys.readouterr().err.splitlines() if "`batch.record_id`" in x
    ]
    assert len(lines) == 1 and "int32 cannot hold" in lines[0]


def test_float64_is_told_once_by_name(capsys):
    _trainer(_data(z=np.zeros(4), n=np.zeros(4, np.int64))).check()
    lines = [x for x in capsys.readouterr().err.splitlines() if "float64" in x]
    assert len(lines) == 1
    assert "`batch.z`" in lines[0]
    assert "`batch.n`" not in lines[0]


def test_examples_that_repeat_within_a_batch_are_told_once(capsys):
    ds = dataclasses.replace(_data(), batch_size=10)
    for _ in range(2):
        next(iter(ds))
    assert capsys.readouterr().err.count("`batch_size=10`") == 1
    next(iter(dataclasses.replace(ds, batch_size=4)))
    next(iter(dataclasses.replace(ds, num_epochs=1, batch_drop_remainder=False)))
    assert capsys.readouterr().err == ""


def _names_of(error):
    return "\n".join(getattr(error, "__notes__", []))


@pytest.mark.parametrize("of", ["train", "inherited", "own"])
def test_an_error_of_the_data_says_which_dataset_it_is(of):
    empty, good = kd.data.py.DataSource([], shuffle=False, batch_size=2), _data()
    once = dataclasses.replace(good, num_epochs=1)
    evaluator = kd.evals.Evaluator(run=kd.evals.EveryNSteps(1))
    if of == "own":
        evaluator = dataclasses.replace(evaluator, ds=empty)
    trainer = _trainer(
        empty if of == "train" else good,
        eval_ds=empty if of == "inherited" else once,
        evals={"e": evaluator},
    )
    with pytest.raises(ValueError, match="data source is empty") as caught:
        trainer.check()
    name = {
        "train": "cfg.train_ds",
        "inherited": "cfg.eval_ds",
        "own": "cfg.evals['e'].ds",
    }
    assert _names_of(caught.value).count(f"The dataset is `{name[of]}`.") == 1


def test_a_bad_first_batch_is_found_before_anything_is_evaluated_or_saved(tmp_path):
    rows = [{"x": [0.0, 1.0], "y": [0.0]}] * 3 + [{"x": [0.0], "y": [0.0]}]
    (tmp_path / "a.json").write_text(json.dumps(rows))
    options = {"shuffle": False, "seed": 0, "batch_size": 4}
    trainer = _trainer(
        kd.data.py.Json(tmp_path / "a.json", **options),
        tmp_path / "run",
        checkpointer=kd.ckpts.Checkpointer(save_interval_steps=1),
    )
    with pytest.raises(ValueError, match=r"\(2,\) in example 0, \(1,\) in example 3"):
        trainer.train()
    assert not list((tmp_path / "run").glob("checkpoints/*"))
