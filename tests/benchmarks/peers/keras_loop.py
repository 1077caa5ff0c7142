"""Keras 3 on JAX: `Model.fit`, against the stateless loop of its guides."""

import os

os.environ["KERAS_BACKEND"] = "jax"

import keras
import protocol
import sizes


class _Position(keras.layers.Layer):
    def build(self, shape):
        size = (1, shape[1], shape[2])
        self.position = self.add_weight(shape=size, initializer="random_normal")

    def call(self, x):
        return x + self.position


def _blocks(x, is_causal):
    layers, width = keras.layers, sizes.BLOCKS["width"]
    x = _Position()(x)
    for _ in range(sizes.BLOCKS["depth"]):
        normed = layers.LayerNormalization()(x)
        heads = sizes.BLOCKS["heads"]
        attention = layers.MultiHeadAttention(heads, width // heads)
        x = x + attention(normed, normed, use_causal_mask=is_causal)
        hidden = layers.Dense(sizes.BLOCKS["hidden"], activation="gelu")(
            layers.LayerNormalization()(x)
        )
        x = x + layers.Dense(width)(hidden)
    return layers.LayerNormalization()(x)


def make(name):
    """Returns the model."""
    layers = keras.layers
    if name == "mlp":
        x = inputs = keras.Input((sizes.MLP["inputs"],))
        for width in sizes.MLP["widths"]:
            x = layers.Dense(width, activation="relu")(x)
        return keras.Model(inputs, layers.Dense(sizes.MLP["classes"])(x))
    if name == "vit":
        inputs = keras.Input((sizes.VIT["image"], sizes.VIT["image"], 3))
        patch, width = sizes.VIT["patch"], sizes.BLOCKS["width"]
        x = layers.Conv2D(width, patch, strides=patch)(inputs)
        x = _blocks(layers.Reshape((-1, width))(x), is_causal=False)
        x = layers.GlobalAveragePooling1D()(x)
        return keras.Model(inputs, layers.Dense(sizes.VIT["classes"])(x))
    inputs = keras.Input((sizes.DECODER["length"],), dtype="int32")
    vocabulary = sizes.DECODER["vocabulary"]
    x = layers.Embedding(vocabulary, sizes.BLOCKS["width"])(inputs)
    return keras.Model(inputs, layers.Dense(vocabulary)(_blocks(x, is_causal=True)))


def _loss():
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def make_raw(name):
    """The loop of the guide "Writing a training loop from scratch in JAX"."""
    import jax

    model, batch, loss_fn = make(name), sizes.batch(name), _loss()
    optimizer = keras.optimizers.Adam(sizes.LEARNING_RATE)
    optimizer.build(model.trainable_variables)

    def compute(trainable, fixed, x, y):
        logits, fixed = model.stateless_call(trainable, fixed, x, training=True)
        return loss_fn(y, logits), fixed

    gradient = jax.value_and_grad(compute, has_aux=True)

    def step(state, x, y):
        trainable, fixed, of_optimizer = state
        (loss, fixed), grads = gradient(trainable, fixed, x, y)
        trainable, of_optimizer = optimizer.stateless_apply(
            of_optimizer, grads, trainable
        )
        return loss, (trainable, fixed, of_optimizer)

    jitted = jax.jit(step, donate_argnums=0)
    state = (
        [x.value for x in model.trainable_variables],
        [x.value for x in model.non_trainable_variables],
        [x.value for x in optimizer.variables],
    )

    def run(num_steps):
        nonlocal state
        for _ in range(num_steps):
            _, state = jitted(state, batch["x"], batch["label"])
        jax.block_until_ready(state)

    return run


def train(name, every, num_rounds, at_pause):
    batch = sizes.batch(name)

    def batches():
        while True:
            yield batch["x"], batch["label"]

    class Pause(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            at_pause()

        def on_epoch_end(self, epoch, logs=None):
            at_pause()  # the loss of the last step has been read

    model = make(name)
    model.compile(optimizer=keras.optimizers.Adam(sizes.LEARNING_RATE), loss=_loss())
    model.fit(
        batches(),
        steps_per_epoch=every,
        epochs=num_rounds,
        verbose=0,
        callbacks=[Pause()],
    )


if __name__ == "__main__":
    protocol.answer(make_raw, train)
