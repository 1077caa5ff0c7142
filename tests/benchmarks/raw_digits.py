"""The first step of `examples/digits_classifier.py`, written by hand."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from examples import digits_data

BATCH_SIZE = 64


class Model(nn.Module):
    @nn.compact
    def __call__(self, image, is_training):
        x = nn.relu(nn.Conv(32, (3, 3))(image))
        x = nn.relu(nn.Conv(64, (3, 3), strides=(2, 2))(x))
        x = x.reshape(len(x), -1)
        x = nn.Dropout(0.5, deterministic=not is_training)(x)
        return nn.Dense(10)(x)


def main():
    data = digits_data.Digits(split="train")
    order = np.random.default_rng(42).permutation(len(data))
    examples = [data[i] for i in order[:BATCH_SIZE]]
    batch = {
        "image": np.stack([x["image"] for x in examples]).astype(np.float32) / 16,
        "label": np.stack([x["label"] for x in examples]).astype(np.int32),
    }
    model, key = Model(), jax.random.key(42)
    optimizer = optax.adam(optax.cosine_decay_schedule(2e-3, 600))

    @jax.jit
    def init():
        params = model.init(key, batch["image"], is_training=False)["params"]
        return params, optimizer.init(params)

    @jax.jit
    def step(params, opt_state, batch, key):
        def loss_fn(params):
            logits = model.apply(
                {"params": params},
                batch["image"],
                is_training=True,
                rngs={"dropout": key},
            )
            loss = optax.softmax_cross_entropy_with_integer_labels(
                logits, batch["label"]
            ).mean()
            return loss, jnp.mean(logits.argmax(-1) == batch["label"])

        grad_fn = jax.value_and_grad(loss_fn, has_aux=True)
        (loss, accuracy), grads = grad_fn(params)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return optax.apply_updates(params, updates), opt_state, loss, accuracy

    params, opt_state = init()
    *_, loss, accuracy = step(params, opt_state, jax.device_put(batch), key)
    print(f"step 0  loss {float(loss):.4f}  accuracy {float(accuracy):.4f}")


if __name__ == "__main__":
    main()
