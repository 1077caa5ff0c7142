"""`PatchWise`: a model of patches in a model of whole images."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kauldron import kd, kontext
from kauldron.modules.patches import tilings


class Net(nn.Module):
    """A convolution, what is between, and a head."""

    image: kontext.Key = "batch.image"

    @nn.compact
    def __call__(self, image):
        x = nn.tanh(nn.Conv(3, (3, 3), name="stem")(image))
        return {"logits": nn.Dense(2, name="head")(x)}


def _image(shape=(2, 9, 7, 1)):
    return jax.random.normal(jax.random.key(0), shape)


@pytest.fixture(scope="module")
def model():
    return kd.nn.PatchWise(
        inner=Net(), size=(4, 5), overlap=0.5, assemble=["stem"], cut={"y": "batch.y"}
    )


@pytest.fixture(scope="module")
def ran(model):
    """Parameters, outputs and intermediates of one forward pass."""
    image = _image()
    variables = jax.jit(model.init)(jax.random.key(1), image=image)

    def apply(variables, image):
        return model.apply(
            variables,
            image=image,
            cut={"y": 2 * image},
            mutable=True,
            capture_intermediates=True,
        )

    preds, changed = jax.jit(apply)(variables, image)
    return variables, preds, changed["intermediates"]


def _by_hand(variables, image, *, size=(4, 5), starts):
    """Returns start -> what the inner model gives for this patch."""
    inner = {"params": variables["params"]["inner"]}
    return {
        (y, x): Net().apply(inner, image[:, y : y + size[0], x : x + size[1]])
        for y, x in starts
    }


_STARTS = [(y, x) for y in (0, 2, 4, 5) for x in (0, 2)]


def test_inner_values_are_there_per_patch_stacked_in_front(ran):
    variables, _, interms = ran
    (logits,) = interms["inner"]["head"]["__call__"]
    assert interms["starts"][0].tolist() == [list(start) for start in _STARTS]
    patches = _by_hand(variables, _image(), starts=_STARTS)
    for i, start in enumerate(_STARTS):
        np.testing.assert_allclose(logits[i], patches[start]["logits"], atol=1e-5)


def test_outputs_are_the_windowed_mean_of_the_patches(ran):
    variables, preds, _ = ran
    gauss = [np.exp(-(((np.arange(n) - (n - 1) / 2) * 8 / n) ** 2) / 2) for n in (4, 5)]
    window = np.multiply.outer(*gauss)[..., None]
    total, weight = np.zeros((2, 9, 7, 2)), np.zeros((9, 7, 1))
    for (y, x), patch in _by_hand(variables, _image(), starts=_STARTS).items():
        total[:, y : y + 4, x : x + 5] += window * np.asarray(patch["logits"])
        weight[y : y + 4, x : x + 5] += window
    np.testing.assert_allclose(preds["logits"], total / weight, atol=1e-5)


def test_inner_values_are_there_assembled_too(ran):
    _, _, interms = ran
    per_patch = np.asarray(interms["inner"]["stem"]["__call__"][0])
    assembled = interms["assembled"][0]["stem"]
    assert per_patch.shape == (8, 2, 4, 5, 3)
    assert assembled.shape == (2, 9, 7, 3)
    # The first patch alone covers this corner.
    np.testing.assert_allclose(assembled[:, :2, :2], per_patch[0][:, :2, :2], atol=1e-6)


def test_targets_are_cut_like_the_patches(ran):
    _, _, interms = ran
    cut = interms["cut"][0]["y"]
    for i, (y, x) in enumerate(_STARTS):
        expected = 2 * _image()[:, y : y + 4, x : x + 5]
        np.testing.assert_array_equal(cut[i], expected)


def test_losses_name_per_patch_and_assembled_values_plainly(model, ran):
    losses = {
        "per_patch": kd.losses.L2(
            preds="interms.inner.stem.__call__[0]", targets="interms.cut[0].y"
        ),
        "assembled": kd.losses.L2(preds="interms.assembled[0].stem", targets="batch.y"),
    }
    _, _, interms = ran
    y = np.repeat(2 * _image(), 3, axis=-1)
    cut = np.repeat(interms["cut"][0]["y"], 3, axis=-1)
    interms = {**interms, "cut": ({"y": cut},)}
    context = {"batch": {"y": y}, "interms": interms, "step": 0}
    values = {name: float(loss(context=context)) for name, loss in losses.items()}
    patches = np.asarray(interms["inner"]["stem"]["__call__"][0])
    whole = np.asarray(interms["assembled"][0]["stem"])
    expected = {
        "per_patch": np.mean((patches - cut) ** 2),
        "assembled": np.mean((whole - y) ** 2),
    }
    for name, value in expected.items():
        assert values[name] == pytest.approx(float(value), rel=1e-5)
    assert values["per_patch"] != pytest.approx(values["assembled"], rel=1e-3)
    assert kontext.get_keypaths(model) == {
        "image": "batch.image",
        "cut": {"y": "batch.y"},
    }


def test_padding_is_marked_for_masks():
    model = kd.nn.PatchWise(inner=kd.nn.Identity(), size=(4,), overlap=0, border="pad")
    x = jnp.ones((2, 6, 1))
    out, changed = jax.jit(functools.partial(model.apply, mutable=True))({}, x)
    inside = changed["intermediates"]["inside"][0]
    assert out.shape == x.shape
    assert inside.shape == (2, 1, 4, 1)
    assert inside[:, 0, :, 0].tolist() == [[1, 1, 1, 1], [1, 1, 0, 0]]


def test_gradients_are_those_of_the_patches_by_hand(ran):
    variables, _, _ = ran
    image = _image()
    model = kd.nn.PatchWise(inner=Net(), size=(4, 5), overlap=0, blend="flat")

    def loss(variables, image):
        return jnp.sum(model.apply(variables, image=image)["logits"] ** 2)

    def by_hand(variables, image):
        # Without overlap, borders shifted back count where two patches meet.
        total, weight = jnp.zeros((2, 9, 7, 2)), np.zeros((1, 9, 7, 1))
        starts = [(y, x) for y in (0, 4, 5) for x in (0, 2)]
        for (y, x), patch in _by_hand(variables, image, starts=starts).items():
            total = total.at[:, y : y + 4, x : x + 5].add(patch["logits"])
            weight[:, y : y + 4, x : x + 5] += 1
        return jnp.sum((total / weight) ** 2)

    grads = jax.jit(jax.grad(loss, argnums=(0, 1)))(variables, image)
    expected = jax.jit(jax.grad(by_hand, argnums=(0, 1)))(variables, image)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4),
        grads,
        expected,
    )


@pytest.mark.slow
@given(
    shape=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    size=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    overlap=st.floats(0, 0.95),
    blend=st.sampled_from(["flat", "cosine", "gaussian"]),
    border=st.sampled_from(["shift", "pad"]),
)
@settings(max_examples=30, deadline=None)
def test_the_identity_through_patches_is_exact(shape, size, overlap, blend, border):
    model = kd.nn.PatchWise(
        inner=kd.nn.Identity(), size=size, overlap=overlap, blend=blend, border=border
    )
    x = np.random.default_rng(0).normal(size=(*shape, 1)).astype(np.float32)
    np.testing.assert_allclose(model.apply({}, x), x, rtol=1e-6, atol=1e-6)


class Deep(nn.Module):
    @nn.compact
    def __call__(self, x):
        for _ in range(4):
            x = nn.tanh(nn.Conv(16, (3, 3))(x))
        return nn.Conv(1, (1, 1))(x)


def _gradient_bytes(model, length):
    """Bytes that the compiled gradient needs for what is neither input nor output."""
    image = jax.ShapeDtypeStruct((1, length, 16, 1), jnp.float32)
    variables = jax.eval_shape(model.init, jax.random.key(0), image)
    grad = jax.grad(lambda v, x: jnp.sum(model.apply(v, x) ** 2))
    memory = jax.jit(grad).lower(variables, image).compile().memory_analysis()
    return memory.temp_size_in_bytes


def test_gradients_hold_the_activations_of_one_patch():
    def patches(length, **options):
        model = kd.nn.PatchWise(inner=Deep(), size=(16, 16), **options)
        return _gradient_bytes(model, length)

    per_channel = 16 * 16 * 4
    one = patches(32)
    many = patches(256)
    # What grows with the image is the image itself: the mean, gradients of both, padding;
    # activations would be 5 x 16 channels of it, twice that for an overlap of half.
    assert many - one < 14 * 6 * per_channel


class Stateful(nn.Module):
    """Counts its calls, and drops out."""

    @nn.compact
    def __call__(self, x):
        count = self.variable("stats", "count", lambda: jnp.zeros((), jnp.int32))
        if not self.is_initializing():
            count.value += 1
        keep = jax.random.bernoulli(self.make_rng("dropout"), 0.5, x.shape)
        return x * keep


def test_collections_go_from_patch_to_patch_and_each_patch_has_its_noise():
    model = kd.nn.PatchWise(inner=Stateful(), size=(8,), overlap=0)
    x = jnp.ones((32, 1))
    rngs = {"params": jax.random.key(0), "dropout": jax.random.key(1)}
    variables = jax.jit(model.init)(rngs, x)
    apply = jax.jit(functools.partial(model.apply, rngs=rngs, mutable=["stats"]))
    out, changed = apply(variables, x)
    assert variables["stats"]["inner"]["count"] == 0
    assert changed["stats"]["inner"]["count"] == 4
    assert len({tuple(patch) for patch in np.asarray(out).reshape(4, 8)}) == 4


def test_slices_get_their_neighbours_as_channels_reflected_at_the_ends():
    class Seen(nn.Module):
        @nn.compact
        def __call__(self, x):
            self.sow("intermediates", "x", x)
            return x[..., 1:2]  # the middle one

    model = kd.nn.PatchWise(inner=Seen(), size=(1, None), overlap=0, context_slices=2)
    x = jnp.arange(4.0)[:, None, None] * jnp.ones((1, 3, 1))
    out, changed = jax.jit(functools.partial(model.apply, mutable=True))({}, x)
    (seen,) = changed["intermediates"]["inner"]["x"]
    assert seen.shape == (4, 1, 3, 3)
    assert seen[:, 0, 0].tolist() == [[1, 0, 1], [0, 1, 2], [1, 2, 3], [2, 3, 2]]
    np.testing.assert_array_equal(out, x)


def test_other_arguments_go_to_each_patch_whole():
    class Scaled(nn.Module):
        @nn.compact
        def __call__(self, x, scale):
            return x * scale[:, None, None]

    model = kd.nn.PatchWise(inner=Scaled(), size=(3,), overlap=0)
    out = jax.jit(model.apply)({}, jnp.ones((2, 6, 1)), jnp.array([1.0, 2.0]))
    assert out[:, :, 0].tolist() == [[1] * 6, [2] * 6]


class Strided(nn.Module):
    @nn.compact
    def __call__(self, x):
        return {"coarse": x[..., ::2, :]}


class Labels(nn.Module):
    @nn.compact
    def __call__(self, x):
        return jnp.argmax(x, -1, keepdims=True)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: {"inner": Strided(), "size": (4,)}, r"\['coarse'\]` has the shape"),
        (lambda: {"inner": Labels(), "size": (4,)}, "Take the argmax of what is"),
        (lambda: {"inner": Deep(), "size": (4, 4, 4)}, "with 3 spatial axes"),
        (lambda: {"inner": Deep(), "size": 4}, "one size for each spatial axis"),
        (
            lambda: {"inner": Deep(), "size": (4,), "context_slices": 2},
            "Begin the size with 1",
        ),
        (
            lambda: {"inner": Net(), "size": (4, 4), "assemble": ["hed"]},
            "Did you mean 'head'?",
        ),
    ],
)
def test_what_cannot_be_put_together_is_told(make, words):
    options = make()
    x = jnp.ones((1, 8, 8, 1)) if options["size"] == (4, 4) else jnp.ones((8, 1))
    model = kd.nn.PatchWise(**options)
    with pytest.raises(tilings.PatchError, match=words):
        jax.eval_shape(model.init, jax.random.key(0), x)
