"""What diffusion and flow matching share: a network of noisy images, times and labels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from kauldron import kontext
from kauldron.ktyping import Array, Float, Int, PRNGKey, typechecked
from kauldron.modules import _train_property


class NoisyImageModel(nn.Module):
    """Base of models that learn from noisy images and draw images from noise.

    Attributes:
      network: Module from `(x: Float["b ..."], t: Float["b"])`, and `label: Int["b"]` if
        there is a `label`, to `Float["b ..."]`; `t` is in [0, 1].
      image: Key to images, `Float["b ..."]`, about as wide as a standard normal: values
        in [-1, 1] are.
      label: Key to class ids, `Int["b"]`.
      label_dropout: Share of the training examples whose label is hidden, in [0, 1].
      null_label: The class id that means "not told", such as the number of classes.
      guidance_scale: How far samples follow their label: what the network says with the
        label, minus what it says without, is taken this many times. 1 is plain.

    Raises:
      ValueError: If labels are to be hidden, or guidance is asked for, without a `label`
        and a `null_label`; or `label_dropout` is not in [0, 1].

    Reference: Ho & Salimans 2022, Classifier-Free Diffusion Guidance, eq. 6 (our scale is
    their `1 + w`), arXiv:2207.12598.
    """

    network: nn.Module
    image: kontext.Key = kontext.REQUIRED
    label: kontext.Key | None = None
    label_dropout: float = 0.0
    null_label: int | None = None
    guidance_scale: float = 1.0

    is_training = _train_property.train_property()

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.label_dropout <= 1:
            raise ValueError(
                f"`label_dropout` must be in [0, 1]: got {self.label_dropout}."
            )
        needs_null = self.label_dropout > 0 or self.guidance_scale != 1
        if needs_null and (self.label is None or self.null_label is None):
            raise ValueError(
                f"{type(self).__name__} with label_dropout={self.label_dropout} and "
                f"guidance_scale={self.guidance_scale} needs a `label` and a "
                f"`null_label`: got label={self.label!r}, null_label={self.null_label!r}."
            )

    def sample(self, image: Float["b ..."], label: Int["b"] | None = None) -> Any:
        """Draws as many images as there are in a batch, of its labels.

        For an evaluator, as its `model_method`: it is called with what the keys point
        to. Of `image`, only the shape counts.

        Returns:
          `{"samples": Float32["b ..."]}`.
        """
        noise = jax.random.normal(random_key(self), image.shape)
        return {"samples": self.generate(noise, label)}

    def generate(self, noise: Float["b ..."], label: Int["b"] | None = None) -> Any:
        """Turns standard normal noise into images, `Float32["b ..."]`."""
        raise NotImplementedError(f"{type(self).__qualname__} must define generate.")

    @typechecked
    def _predict(
        self, x: Float["b ..."], t: Float["b"], label: Int["b"] | None
    ) -> Float["b ..."]:
        """Calls the network on training examples, some labels hidden."""
        null = self.null_label
        is_hiding = self.label_dropout > 0 and self.is_training
        if label is not None and null is not None and is_hiding:
            share = self.label_dropout
            is_hidden = jax.random.bernoulli(random_key(self), share, label.shape)
            label = jnp.where(is_hidden, null, label)
        prediction = self.network(x, t, *(() if label is None else (label,)))
        if prediction.shape != x.shape:
            raise ValueError(
                f"The network of {type(self).__name__} must return the shape of its "
                f"input: got {prediction.shape}, expected {x.shape}."
            )
        return prediction


# Not a method: Flax would record the function that it returns as an intermediate.
def guided_network(
    model: NoisyImageModel, label: Int["b"] | None
) -> Callable[..., Any]:
    """Returns the network as a function of images and one time, `Float[""]`.

    It is free of the model's scope, so that JAX may trace it in a loop.
    """
    network, variables = model.network.clone(parent=None), model.network.variables

    def call(x: Array, t: Array, *label: Array) -> Any:
        with _train_property.set_train_property(False):
            return network.apply(variables, x, jnp.broadcast_to(t, len(x)), *label)

    def predict(x: Array, t: Array) -> Any:
        null = model.null_label
        if label is None:
            return call(x, t)
        if null is None or model.guidance_scale == 1:
            return call(x, t, label)
        labels = jnp.concatenate([label, jnp.full_like(label, null)])
        told, untold = jnp.split(call(jnp.concatenate([x, x]), t, labels), 2)
        return untold + model.guidance_scale * (told - untold)

    return predict


def check_label(
    model: NoisyImageModel, image: Float["b ..."], label: Array | None
) -> None:
    """Raises `ValueError` if labels are not one class id for each image."""
    if label is None:
        return
    is_int = jnp.issubdtype(label.dtype, jnp.integer)
    if not is_int or label.shape != image.shape[:1]:
        raise ValueError(
            f"The label of {type(model).__name__} is `i[b]`, one class id for each of the "
            f"{len(image)} images: got {label.dtype}{list(label.shape)}. Remove axes of "
            "size 1 in the pipeline: `kd.data.Rearrange(key='label', pattern='1 -> ')`."
        )


def per_example(values: Float["b"], like: Float["b ..."]) -> Float["b ..."]:
    """Appends axes of size 1, so that values of examples broadcast to their arrays."""
    return values.reshape(-1, *(1,) * (like.ndim - 1))


def random_key(module: nn.Module) -> PRNGKey:
    """Returns the next key of the stream `default`.

    Raises:
      ValueError: If the pass has no such stream.
    """
    if not module.has_rng("default"):
        raise ValueError(
            f"{type(module).__name__} draws noise in evaluations too, and this pass has "
            "no stream 'default'. Set `cfg.rng_streams = kd.train.RngStreams("
            "[kd.train.RngStream('default', eval=True)])`, or pass `rngs={'default': "
            "key}` to `apply`."
        )
    return module.make_rng("default")
