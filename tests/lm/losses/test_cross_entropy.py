"""Cross-entropy of tokens: chunked equals plain, and what it is divided by."""

from __future__ import annotations

import functools

import jax
import numpy as np
import optax
import pytest

from kauldron import kd, metrics
from tests.metrics import contract

VOCAB, FEATURES, LENGTH = 64, 8, 10
_rng = np.random.default_rng(0)
HIDDEN = _rng.normal(size=(4, LENGTH, FEATURES)).astype(np.float32)
KERNEL = _rng.normal(size=(FEATURES, VOCAB)).astype(np.float32)
TARGETS = _rng.integers(VOCAB, size=(4, LENGTH))
MASK = (_rng.random((4, LENGTH)) < 0.6).astype(np.float32)


def chunked(**options):
    return kd.lm.ChunkedCrossEntropy(
        hidden="h", kernel="k", targets="t", mask="m", **options
    )


@pytest.mark.parametrize("is_tied", [False, True])
def test_value_and_gradients_are_those_of_optax(is_tied):
    loss = chunked(num_chunks=3, has_tied_head=is_tied)
    kernel = KERNEL.T if is_tied else KERNEL

    def plain(hidden, kernel):
        logits = hidden @ (kernel.T if is_tied else kernel)
        nats = optax.softmax_cross_entropy_with_integer_labels(logits, TARGETS)
        return (nats * MASK).sum() / MASK.sum()

    def ours(hidden, kernel):
        return loss(hidden=hidden, kernel=kernel, targets=TARGETS, mask=MASK)

    expected = jax.jit(jax.value_and_grad(plain, argnums=(0, 1)))(HIDDEN, kernel)
    actual = jax.jit(jax.value_and_grad(ours, argnums=(0, 1)))(HIDDEN, kernel)
    for a, b in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6)


def test_values_of_tokens_have_the_same_gradient_as_their_sum():
    loss = chunked(num_chunks=4, label_smoothing=0.1, z_loss=1e-3, head_softcap=5.0)

    def by_values(hidden, kernel, weights):
        values = loss.get_values(hidden=hidden, kernel=kernel, targets=TARGETS)
        return (values * weights).sum() / MASK.sum()

    def by_state(hidden, kernel, weights):
        state = loss.get_state(
            hidden=hidden, kernel=kernel, targets=TARGETS, mask=weights
        )
        return state.total / MASK.sum()

    results = [
        jax.jit(jax.value_and_grad(f, argnums=(0, 1, 2)))(HIDDEN, KERNEL, MASK)
        for f in (by_values, by_state)
    ]
    for a, b in zip(*map(jax.tree.leaves, results), strict=True):
        # Of a token that is masked out, the loss is not looked at.
        is_weights = a.shape == MASK.shape
        kept = (MASK > 0) if is_weights else np.ones(a.shape, bool)
        np.testing.assert_allclose(
            np.asarray(a)[kept], np.asarray(b)[kept], rtol=1e-5, atol=1e-6
        )


def test_no_array_of_all_logits_is_made():
    loss = chunked(num_chunks=5)

    def ours(hidden, kernel):
        return loss(hidden=hidden, kernel=kernel, targets=TARGETS, mask=MASK)

    jaxpr = jax.make_jaxpr(jax.grad(ours, argnums=(0, 1)))(HIDDEN, KERNEL)
    assert f"4,{LENGTH},{VOCAB}]" not in str(jaxpr)
    assert f"4,{LENGTH // 5},{VOCAB}]" in str(jaxpr)


def test_z_loss_and_smoothing_of_a_hand_worked_token():
    # Logits 0, log 2, log 5: probabilities 1/8, 2/8, 5/8, and a log-sum of log 8.
    logits = np.log([[[1.0, 2.0, 5.0]]]).astype(np.float32)
    loss = kd.lm.TokenCrossEntropy(
        logits="l", targets="t", label_smoothing=0.3, z_loss=0.01
    )
    expected = 0.8 * np.log(8 / 5) + 0.1 * np.log(8) + 0.1 * np.log(4)
    expected += 0.01 * np.log(8) ** 2
    state = jax.jit(loss.get_state)(logits=logits, targets=np.array([[2]]))
    value = state.compute()
    np.testing.assert_allclose(value, expected, rtol=1e-6)


def test_targets_outside_of_the_vocabulary_are_told_unless_masked():
    targets = TARGETS.copy()
    targets[0, 0] = VOCAB
    mask = np.ones_like(MASK)
    state = jax.jit(lambda m: chunked().get_state(HIDDEN, KERNEL, targets, mask=m))
    with pytest.raises(metrics.LabelError, match=rf"{VOCAB}"):
        state(mask).compute()
    mask[0, 0] = 0
    assert np.isfinite(state(mask).compute())


def test_a_masked_token_that_is_nan_has_no_gradient():
    hidden = HIDDEN.copy()
    hidden[MASK == 0] = np.nan

    def total(hidden, kernel):
        return chunked()(hidden=hidden, kernel=kernel, targets=TARGETS, mask=MASK)

    grad = jax.jit(jax.grad(total, argnums=(0, 1)))(hidden, KERNEL)
    assert all(np.isfinite(g).all() for g in grad)
    assert not np.asarray(grad[0])[MASK == 0].any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"has_tied_head": True}, r"kernel `\[vocab d\]`"),
        ({"label_smoothing": 1.5}, r"in \[0, 1\]: got 1.5"),
        ({"num_chunks": 0}, "num_chunks"),
        ({"z_loss": -1.0}, "z_loss"),
    ],
)
def test_what_does_not_fit_is_told(change, message):
    with pytest.raises(ValueError, match=message):
        chunked(**change).get_state(HIDDEN, KERNEL, TARGETS)


def test_float_or_misshapen_targets_are_told():
    loss = kd.lm.ChunkedCrossEntropy(hidden="h", kernel="k", targets="t")
    with pytest.raises(ValueError, match="integer"):
        loss.get_state(HIDDEN, KERNEL, TARGETS.astype(np.float32))
    # The shapes are told by the annotations, if these are checked.
    with pytest.raises((ValueError, TypeError), match="targets"):
        loss.get_state(HIDDEN, KERNEL, TARGETS[:, :-1])


# In a step: of a decoder whose rows have very different numbers of tokens that count.


def decoder():
    return kd.nn.decoder(
        "llama",
        vocab_size=VOCAB,
        features=FEATURES,
        num_layers=1,
        num_heads=2,
        hidden_features=16,
        tokens="batch.tokens",
    )


LOSSES = {
    "plain": kd.lm.TokenCrossEntropy(
        logits="preds.logits", targets="batch.targets", mask="batch.loss_mask"
    ),
    "chunked": kd.lm.ChunkedCrossEntropy(
        hidden="interms.hidden[0]",
        kernel="params.head",
        targets="batch.targets",
        mask="batch.loss_mask",
        num_chunks=4,
    ),
}


def _batch():
    rng = np.random.default_rng(1)
    tokens = rng.integers(VOCAB, size=(16, LENGTH + 1)).astype(np.int32)
    mask = np.zeros((16, LENGTH), np.float32)
    for i, row in enumerate(mask):
        row[: 1 + i % LENGTH] = 1
    mask[3] = 0  # one row has none at all
    return {"tokens": tokens[:, :-1], "targets": tokens[:, 1:], "loss_mask": mask}


def gradients(loss, batch_sharding, num_parts):
    """Returns parameters, and the gradients that a step takes."""
    sharding = kd.sharding.ShardingStrategy(batch=batch_sharding)
    step = kd.train.TrainStep(
        model=decoder(),
        optimizer=optax.sgd(1.0),
        rng_streams=kd.train.RngStreams(seed=0),
        sharding=sharding,
        init_transform=kd.ckpts.NoopTransform(),
        aux=kd.train.Auxiliaries(losses={"nats": loss}, metrics={}, summaries={}),
        precision=None,
        remat=None,
        grad_accum_steps=num_parts,
    )
    batch = kd.sharding.device_put(_batch(), sharding.batch)
    state = step.init(batch)
    before = jax.tree.map(np.array, state.params)
    state, _ = step.step(state, batch)
    return before, jax.tree.map(lambda a, b: a - np.asarray(b), before, state.params)


@functools.cache
def expected_gradients():
    """Returns those of the sum over all tokens, divided once."""
    model, batch = decoder(), _batch()

    def loss(params):
        logits = model.apply({"params": params}, batch["tokens"])["logits"]
        nats = optax.softmax_cross_entropy_with_integer_labels(logits, batch["targets"])
        return (nats * batch["loss_mask"]).sum() / batch["loss_mask"].sum()

    return jax.jit(jax.grad(loss), compiler_options=contract.COMPILE_FAST)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "is_sharded", "num_parts"),
    [("chunked", True, 2), ("chunked", False, 16), ("plain", True, 2)],
)
def test_the_mean_is_over_the_tokens_of_the_whole_batch(name, is_sharded, num_parts):
    where = kd.sharding.FIRST_DIM if is_sharded else kd.sharding.REPLICATED
    params, grads = gradients(LOSSES[name], where, num_parts)
    expected = expected_gradients()(params)
    for a, b in zip(*map(jax.tree.leaves, (grads, expected)), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-6)
