"""The models in flax, and the loop that one writes for them by hand."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
import sizes


class Block(nn.Module):
    """A block of a transformer, norms first."""

    is_causal: bool

    @nn.compact
    def __call__(self, x):
        mask = nn.make_causal_mask(x[..., 0]) if self.is_causal else None
        attention = nn.MultiHeadDotProductAttention(num_heads=sizes.BLOCKS["heads"])
        x = x + attention(nn.LayerNorm()(x), mask=mask)
        hidden = nn.gelu(nn.Dense(sizes.BLOCKS["hidden"])(nn.LayerNorm()(x)))
        return x + nn.Dense(sizes.BLOCKS["width"])(hidden)


def _blocks(module, x, is_causal):
    shape = (1, x.shape[1], sizes.BLOCKS["width"])
    x = x + module.param("position", nn.initializers.normal(0.02), shape)
    for _ in range(sizes.BLOCKS["depth"]):
        x = Block(is_causal)(x)
    return nn.LayerNorm()(x)


def make(name, key=str):
    """Returns the module; `key` is the annotation that a tool finds its inputs by."""

    class Mlp(nn.Module):
        inputs: key = "batch.x"

        @nn.compact
        def __call__(self, inputs):
            x = inputs
            for width in sizes.MLP["widths"]:
                x = nn.relu(nn.Dense(width)(x))
            return {"logits": nn.Dense(sizes.MLP["classes"])(x)}

    class Vit(nn.Module):
        inputs: key = "batch.x"

        @nn.compact
        def __call__(self, inputs):
            size = (sizes.VIT["patch"],) * 2
            x = nn.Conv(sizes.BLOCKS["width"], size, strides=size)(inputs)
            x = x.reshape(len(x), -1, x.shape[-1])
            x = _blocks(self, x, is_causal=False).mean(1)
            return {"logits": nn.Dense(sizes.VIT["classes"])(x)}

    class Decoder(nn.Module):
        inputs: key = "batch.x"

        @nn.compact
        def __call__(self, inputs):
            vocabulary = sizes.DECODER["vocabulary"]
            x = nn.Embed(vocabulary, sizes.BLOCKS["width"])(inputs)
            x = _blocks(self, x, is_causal=True)
            return {"logits": nn.Dense(vocabulary)(x)}

    return {"mlp": Mlp, "vit": Vit, "decoder": Decoder}[name]()


def make_raw(name):
    """A donated, jitted step that is given the arrays of NumPy, as is fastest on a CPU."""
    batch, model = sizes.batch(name), make(name)
    optimizer = optax.adam(sizes.LEARNING_RATE)

    @jax.jit
    def init(key):
        params = model.init(key, batch["x"])["params"]
        return params, optimizer.init(params), jnp.int32(0)

    def step(state, batch):
        params, opt_state, number = state

        def loss_fn(params):
            logits = model.apply({"params": params}, batch["x"])["logits"]
            labels = batch["label"][..., 0]
            entropy = optax.softmax_cross_entropy_with_integer_labels
            return entropy(logits, labels).mean()

        loss, grads = jax.value_and_grad(loss_fn)(params)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return (optax.apply_updates(params, updates), opt_state, number + 1), loss

    jitted = jax.jit(step, donate_argnums=0)
    state = init(jax.random.key(0))

    def run(num_steps):
        nonlocal state
        for _ in range(num_steps):
            state, _ = jitted(state, batch)
        jax.block_until_ready(state)

    return run
