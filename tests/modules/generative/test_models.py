"""Variational autoencoder, diffusion and flow matching as models of a run."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import stats

from kauldron import kd
from tests.modules import contract

pytestmark = pytest.mark.usefixtures("quick_compile")

_RNGS = {"default": jax.random.key(3)}
_WITH_LABELS = {"image": "batch.image", "label": "batch.label"}


class _AtHalfTime(nn.Module):
    """The network at one time, since bf16 cannot hold times that differ by 1/1000."""

    @nn.compact
    def __call__(self, x, label):
        network = kd.nn.ConditionalMLP(features=8, num_blocks=1, num_classes=3)
        return network(x, jnp.full(label.shape, 0.5, x.dtype), label)


class _UNetAtHalfTime(nn.Module):
    @nn.compact
    def __call__(self, x, label):
        network = kd.nn.ConditionalUNet(features=(4, 8), num_groups=2, num_classes=3)
        return network(x, jnp.full(label.shape, 0.5, x.dtype), label)


@contract.parametrize(
    [
        contract.Block(
            name="ConditionalMLP",
            make=_AtHalfTime,
            inputs=((2, 2, 1), ((), 3)),
            output=(2, 2, 1),
        ),
    ]
)
def test_block_keeps_the_contract(block):
    contract.check(block)


@pytest.mark.slow
def test_unet_keeps_the_contract():
    contract.check(
        contract.Block(
            name="ConditionalUNet",
            make=_UNetAtHalfTime,
            inputs=((4, 4, 1), ((), 3)),
            output=(4, 4, 1),
        )
    )


def test_unet_takes_volumes_of_which_its_factor_is_known():
    network = kd.nn.ConditionalUNet(
        features=(8, 16), kernel_size=(1, 3, 3), strides=[(1, 2, 2)]
    )
    assert network.downsampling_factor == (1, 2, 2)
    x, t = jnp.zeros((2, 3, 4, 6, 1)), jnp.zeros(2)
    key = jax.random.key(0)
    y, _ = jax.eval_shape(network.init_with_output, key, x, t)
    assert y.shape == x.shape
    with pytest.raises(ValueError, match=r"multiples of its.*got \(3, 5, 6\)"):
        jax.eval_shape(network.init, key, jnp.zeros((2, 3, 5, 6, 1)), t)
    with pytest.raises(ValueError, match="ConditionalUNet needs labels exactly if"):
        jax.eval_shape(network.init, key, x, t, jnp.zeros(2, int))


def test_time_embedding_is_that_of_positions_up_to_1000():
    t = np.array([0.0, 0.013, 1.0])
    wavelengths = 10_000 ** (np.arange(3) / 3)
    angles = 1000 * t[:, None] / wavelengths
    expected = np.concatenate([np.sin(angles), np.cos(angles)], -1)
    features = kd.nn.TimeEmbedding(6).apply({}, jnp.float32(t))
    # f32 angles of up to 1000 are off by up to 3e-5.
    np.testing.assert_allclose(features, expected, atol=1e-4)


class _Line(nn.Module):
    """`w * x + b[label]`, whatever the time; remembers what it was called with."""

    @nn.compact
    def __call__(self, x, t, label=None):
        self.sow("seen", "t", t)
        weight = self.param("w", nn.initializers.constant(0.5), ())
        offset = self.param("b", nn.initializers.normal(), (4,))
        return weight * x + (0 if label is None else offset[label].reshape(-1, 1))


def _run(model, *args, is_training=True, method=None):
    @jax.jit
    def run(*args):
        variables = model.init({"params": jax.random.key(0), **_RNGS}, *args)
        params = variables.get("params", {})
        result, seen = model.apply(
            {"params": params}, *args, rngs=_RNGS, method=method, mutable=["seen"]
        )
        return params, result, seen

    with kd.nn.set_train_property(is_training):
        return run(*args)


_POINTS = jnp.float32(np.random.default_rng(0).normal(size=(4000, 2)))


def test_the_flow_target_is_image_minus_noise_on_a_straight_path():
    model = kd.nn.FlowMatching(network=_Line(), image="batch.image")
    _, preds, seen = _run(model, _POINTS)
    t = seen["seen"]["network"]["t"][0][:, None]
    noise = _POINTS - preds["target"]
    np.testing.assert_allclose(
        preds["prediction"], 0.5 * ((1 - t) * noise + t * _POINTS), atol=1e-5
    )
    # Noise is standard normal, times are uniform (Kolmogorov-Smirnov).
    assert stats.kstest(np.ravel(noise), "norm").pvalue > 1e-3
    assert stats.kstest(np.ravel(t), "uniform").pvalue > 1e-3


def test_diffusion_noises_images_to_steps_of_its_schedule():
    schedule = kd.nn.LinearNoise(num_steps=10, last_beta=0.3)
    model = kd.nn.Diffusion(
        network=_Line(), image="batch.image", schedule=schedule, predicts="eps"
    )
    _, preds, seen = _run(model, _POINTS)
    step = np.round(10 * seen["seen"]["network"]["t"][0]).astype(int)
    counts = np.bincount(step, minlength=11)
    assert counts[0] == 0  # step 0 has no noise
    assert stats.chisquare(counts[1:]).pvalue > 1e-3
    share = schedule.alpha_bars[step][:, None]
    noisy = np.sqrt(share) * _POINTS + np.sqrt(1 - share) * preds["target"]
    np.testing.assert_allclose(preds["prediction"], 0.5 * noisy, atol=1e-5)
    assert stats.kstest(np.ravel(preds["target"]), "norm").pvalue > 1e-3


def test_labels_are_hidden_in_training_only():
    model = kd.nn.FlowMatching(
        network=_Line(), label_dropout=0.25, null_label=3, **_WITH_LABELS
    )
    labels = jnp.arange(4000) % 3
    for is_training, share in [(True, 0.25), (False, 0.0)]:
        params, preds, seen = _run(model, _POINTS, labels, is_training=is_training)
        # The offset tells which label the network saw.
        t = np.asarray(seen["seen"]["network"]["t"][0])
        image, target = np.asarray(_POINTS)[:, 0], np.asarray(preds["target"])[:, 0]
        x = (1 - t) * (image - target) + t * image
        offset = preds["prediction"][:, 0] - 0.5 * x
        offsets = np.asarray(params["network"]["b"])
        hidden = np.isclose(offset, offsets[3], atol=1e-4)
        # Four standard errors of a share of 4,000.
        assert (
            abs(hidden.mean() - share) < 4 * np.sqrt(share * (1 - share) / 4000) + 1e-9
        )


def test_guidance_goes_beyond_the_label_as_often_as_it_says():
    def model(scale):
        return kd.nn.FlowMatching(
            network=_Line(),
            null_label=3,
            guidance_scale=scale,
            sampler="euler",
            num_sample_steps=1,
            **_WITH_LABELS,
        )

    labels = jnp.int32([0, 1, 2])
    noise = jnp.zeros((3, 2))
    params, *_ = _run(model(1.0), noise, labels)

    def drawn(scale):
        with kd.nn.set_train_property(True):
            return model(scale).apply(
                {"params": params}, noise, labels, method="generate"
            )[:, 0]

    # One step from 0 is the velocity at 0, the offset of the label.
    told, untold = params["network"]["b"][:3], params["network"]["b"][3]
    np.testing.assert_allclose(drawn(1.0), told, rtol=1e-6)
    np.testing.assert_allclose(drawn(0.0), np.full(3, untold), rtol=1e-6)
    np.testing.assert_allclose(drawn(2.5), untold + 2.5 * (told - untold), rtol=1e-5)


class _ExactEps(nn.Module):
    """Noise expected in images of which each value is N(0.5, 0.3**2)."""

    schedule: kd.nn.NoiseSchedule = kd.nn.LinearNoise()

    def __call__(self, x, t):
        step = jnp.round(t * self.schedule.num_steps).astype(int)
        share = jnp.float32(self.schedule.alpha_bars)[step].reshape(-1, 1)
        centred = x - jnp.sqrt(share) * 0.5
        return jnp.sqrt(1 - share) * centred / (share * 0.09 + 1 - share)


@pytest.mark.parametrize("sampler", ["ddim", "ancestral"])
def test_diffusion_with_the_exact_network_draws_the_data(sampler):
    model = kd.nn.Diffusion(
        network=_ExactEps(),
        image="batch.image",
        schedule=kd.nn.LinearNoise(),
        predicts="eps",
        sampler=sampler,
        num_sample_steps=250,
    )
    draw = jax.jit(lambda x: model.apply({}, x, method="sample", rngs=_RNGS)["samples"])
    samples = np.ravel(draw(jnp.zeros((10_000, 2))))
    # Four standard errors, 0.01 for the length of the steps.
    assert abs(samples.mean() - 0.5) < 4 * 0.3 / 20_000**0.5 + 0.01
    assert abs(samples.std() - 0.3) < 4 * 0.3 / 40_000**0.5 + 0.01


def test_clipped_samples_stay_in_range():
    model = kd.nn.Diffusion(
        network=_ExactEps(),
        image="batch.image",
        schedule=kd.nn.LinearNoise(),
        predicts="eps",
        clip_range=(0.4, 0.6),
        num_sample_steps=3,
    )
    samples = model.apply({}, jnp.zeros((64, 1)), method="sample", rngs=_RNGS)[
        "samples"
    ]
    np.testing.assert_allclose([samples.min(), samples.max()], [0.4, 0.6], rtol=1e-6)


def _vae(encoder=None):
    return kd.nn.VAE(
        encoder=encoder or nn.Dense(6), decoder=nn.Dense(5), image="batch.image"
    )


def test_vae_draws_the_code_from_the_encoders_distribution():
    x = jnp.ones((4000, 5))
    params, preds, _ = _run(_vae(), x)
    kernel, bias = (np.asarray(params["encoder"][k]) for k in ("kernel", "bias"))
    moments = np.asarray(x[:1]) @ kernel + bias
    np.testing.assert_allclose(preds["mean"][0], moments[0, :3], rtol=1e-5)
    np.testing.assert_allclose(preds["logvar"][0], moments[0, 3:], rtol=1e-5)
    spread = (preds["latent"] - preds["mean"]) / np.exp(preds["logvar"] / 2)
    assert stats.kstest(np.ravel(spread), "norm").pvalue > 1e-3
    kernel, bias = (np.asarray(params["decoder"][k]) for k in ("kernel", "bias"))
    decoded = np.asarray(preds["latent"]) @ kernel + bias
    np.testing.assert_allclose(preds["image"], decoded, atol=1e-5)


def test_gradients_of_a_vae_reach_the_encoder_through_the_code():
    model, x = _vae(), jnp.ones((3, 5))
    params, *_ = _run(model, x)

    def loss(params):
        preds = model.apply({"params": params}, x, rngs=_RNGS)
        return jnp.sum(preds["image"] ** 2)

    assert np.all(jax.jit(jax.grad(loss))(params)["encoder"]["kernel"] != 0)


def test_vae_samples_are_decoded_standard_normal_codes():
    x = jnp.ones((4000, 5))
    params, drawn, _ = _run(_vae(), x, method="sample", is_training=False)
    kernel, bias = (np.asarray(params["decoder"][k]) for k in ("kernel", "bias"))
    code = (np.asarray(drawn["samples"]) - bias) @ np.linalg.pinv(kernel)
    assert stats.kstest(np.ravel(code), "norm").pvalue > 1e-3


def test_an_encoder_with_an_odd_number_of_features_is_told():
    with pytest.raises(ValueError, match="even number of features: got 7"):
        _run(_vae(encoder=nn.Dense(7)), jnp.ones((3, 5)))


@pytest.mark.parametrize("kind", [kd.nn.FlowMatching, kd.nn.Diffusion])
@pytest.mark.parametrize(
    ("label", "seen"),
    [(jnp.zeros((3, 1), int), r"int32\[3, 1\]"), (jnp.zeros(3), r"float32\[3\]")],
)
def test_labels_that_are_not_one_for_each_image_are_told(kind, label, seen):
    model = kind(network=_Line(), **_WITH_LABELS)
    with pytest.raises(ValueError, match=rf"label of .* is `i\[b\]`.*got {seen}"):
        model.init(_RNGS, jnp.zeros((3, 2)), label)
    with pytest.raises(ValueError, match=rf"each of the 3 images: got {seen}"):
        model.init(_RNGS, jnp.zeros((3, 2)), label, method="sample")


def test_a_network_that_changes_the_shape_is_told():
    class Wrong(nn.Module):
        def __call__(self, x, t):
            return x[:, :1]

    with pytest.raises(ValueError, match=r"got \(4000, 1\), expected \(4000, 2\)"):
        _run(kd.nn.FlowMatching(network=Wrong(), image="batch.image"), _POINTS)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"label_dropout": 0.1}, "needs a `label` and a `null_label`"),
        ({"guidance_scale": 2.0, "label": "batch.y"}, "got label='batch.y', null_lab"),
        ({"label_dropout": 1.5}, r"in \[0, 1\]: got 1.5"),
        ({"sampler": "heum"}, "got 'heum'. Did you mean 'heun'"),
    ],
)
def test_fields_that_do_not_fit_are_told_on_construction(fields, message):
    with pytest.raises(ValueError, match=message):
        kd.nn.FlowMatching(network=_Line(), image="batch.image", **fields)
    if "sampler" not in fields:
        return
    with pytest.raises(ValueError, match=r"one of .*'ancestral', 'ddim'"):
        kd.nn.Diffusion(network=_Line(), image="batch.image", sampler="ddmi")
    with pytest.raises(ValueError, match="`predicts` must be one of"):
        kd.nn.Diffusion(network=_Line(), image="batch.image", predicts="noise")


class _Points:
    def __len__(self):
        return 32

    def __getitem__(self, index):
        return {"image": np.full((2,), index / 16 - 1, np.float32), "label": index % 3}


def _trainer(tmp_path, **fields):
    return kd.train.Trainer(
        workdir=str(tmp_path),
        train_ds=kd.data.py.DataSource(_Points(), batch_size=8, shuffle=True),
        eval_ds=kd.data.py.DataSource(
            _Points(), batch_size=8, shuffle=False, num_epochs=1
        ),
        model=kd.nn.FlowMatching(
            network=_Line(),
            null_label=3,
            label_dropout=0.1,
            guidance_scale=2.0,
            num_sample_steps=2,
            **_WITH_LABELS,
        ),
        num_train_steps=2,
        train_losses={
            "l2": kd.losses.L2(preds="preds.prediction", targets="preds.target")
        },
        optimizer=optax.sgd(0.1),
        evals={
            "samples": kd.evals.Evaluator(
                run=kd.evals.EveryNSteps(2),
                model_method="sample",
                losses={},
                metrics={"norm": kd.metrics.Norm(tensor="preds.samples", axis=-1)},
            ),
        },
        **fields,
    )


def test_an_evaluator_of_the_method_sample_measures_samples(tmp_path):
    streams = kd.train.RngStreams([kd.train.RngStream("default", eval=True)])
    trainer = _trainer(tmp_path, rng_streams=streams)
    trainer.check()
    evaluator = trainer.evals["samples"]
    measured = [evaluator.evaluate(trainer.init_state(), 0) for _ in range(2)]
    norms = [float(m.compute().metric_values["metrics/norm"]) for m in measured]
    assert norms[0] == norms[1] > 0


def test_a_run_whose_evaluations_have_no_noise_is_told_before_it_starts(tmp_path):
    with pytest.raises(kd.errors.UserError, match=r"RngStream\('default', eval=True\)"):
        _trainer(tmp_path).check()
