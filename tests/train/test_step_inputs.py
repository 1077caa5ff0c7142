"""A state that is used up, and texts on the way to a step, are told in a few words."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kauldron import errors, kd
from tests.train import small_run


class _Named(small_run.Points):
    """Points with a text each."""

    def __getitem__(self, index):
        return {**super().__getitem__(index), "name": f"point {index}"}


@pytest.fixture(scope="module")
def trainer(tmp_path_factory):
    return small_run.make_trainer(
        tmp_path_factory.mktemp("run"),
        train_ds=small_run.make_ds(data_source=_Named()),
        evals={"test": kd.evals.Evaluator(run=kd.evals.EveryNSteps(5))},
    )


@pytest.fixture(scope="module")
def batch(trainer):
    [batch] = trainer.train_ds.take(1).device_put(trainer.sharding.batch)
    return batch


# `{}` is compiled then, and would crash the process; the other is traced before.
@pytest.mark.parametrize("options", [{}, {"return_losses": True}])
def test_state_given_to_a_step_twice_is_said_to_be_used_up(trainer, batch, options):
    state = trainer.init_state()
    trainer.trainstep.step(state, batch)
    with pytest.raises(errors.UserError) as error:
        trainer.trainstep.step(state, batch, **options)
    message = str(error.value)
    assert message.startswith("The arrays of `state` are used up: it was given to ")
    assert "`state, aux = trainer.trainstep.step(state, batch)`" in message
    assert "`jax.tree.map(jax.numpy.copy, state)`" in message


def test_remedies_of_a_used_up_state_work(trainer, batch):
    state = trainer.init_state()
    after, _ = trainer.trainstep.step(jax.tree.map(jnp.copy, state), batch)
    again, _ = trainer.trainstep.step(state, batch)
    assert small_run.state_hash(after) == small_run.state_hash(again)


def test_used_up_state_given_to_an_evaluator_is_said_to_be_so(trainer, batch):
    state = trainer.init_state()
    trainer.trainstep.step(state, batch)
    with pytest.raises(errors.UserError, match="arrays of `state` are used up"):
        trainer.evals["test"].evaluate(state, step=0)


@pytest.mark.parametrize(
    ("extra", "key", "dropped"),
    [
        ({"name": np.array(["a"] * 16)}, "batch.name", "name"),
        ({"name": np.array(["a"] * 16, object)}, "batch.name", "name"),
        ({"of": {"name": np.array(["a"] * 16)}}, "batch.of.name", "of"),
        ({"day": np.array(["2020-01-01"] * 16, "datetime64[D]")}, "batch.day", "day"),
    ],
)
@pytest.mark.parametrize("kind", ["trainstep", "evaluator"])
def test_texts_in_a_batch_are_named(trainer, batch, extra, key, dropped, kind):
    state = trainer.init_state()
    with pytest.raises(TypeError) as error:
        if kind == "trainstep":
            trainer.trainstep.step(state, {**batch, **extra})
        else:
            trainer.evals["test"].step(0, state, {**batch, **extra})
    assert str(error.value) == (
        f"`{key}`: texts or dates, which devices cannot hold. A run leaves them on the "
        "host, and so does `ds.device_put(trainer.sharding.batch)`: iterate that. Or drop "
        f"them with one of the `transforms`, `kd.data.Elements(drop=[{dropped!r}])`. "
        "`ds.element_spec` says what a batch holds."
    )


def test_a_batch_from_the_host_without_texts_is_taken(trainer, batch):
    [on_host] = trainer.train_ds.take(1)
    del on_host["name"]
    after, _ = trainer.trainstep.step(trainer.init_state(), batch)
    same, _ = trainer.trainstep.step(trainer.init_state(), on_host)
    # On one device: the sums of several have another order.
    for a, b in zip(jax.tree.leaves(after), jax.tree.leaves(same), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_other_errors_of_a_step_stay_as_they_are(trainer, batch):
    with pytest.raises(kd.kontext.KeyPathError, match="has no 'label'"):
        trainer.trainstep.step(trainer.init_state(), {"x": batch["x"]})


def test_list_of_what_a_batch_has_names_the_texts(trainer):
    bad = trainer.replace(
        train_losses={"l": kd.losses.L2(preds="preds.logits", targets="batch.lbel")}
    )
    with pytest.raises(kd.kontext.KeyPathError) as error:
        bad.check()
    assert "'batch' has: label, x; on the host only, as texts or dates: name." in str(
        error.value
    )


def test_a_step_can_be_traced(trainer, batch):
    specs = jax.eval_shape(
        lambda state: trainer.trainstep.step(state, batch)[0], trainer.init_state()
    )
    assert specs.step.shape == ()
