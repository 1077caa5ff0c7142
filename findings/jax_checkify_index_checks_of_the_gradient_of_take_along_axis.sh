#!/usr/bin/env bash
# jax 0.10.2: `checkify.index_checks` around the gradient of `jnp.take_along_axis`.
# Guess: indices are checked in the backward pass as in the forward pass.
# Seen: tracing dies with "IndexError: tuple index out of range"; the forward pass alone is
# checked as documented, and so is the gradient of plain indexing. (A cross-entropy that
# picks the score of the label by `take_along_axis` cannot be trained with these checks.)
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check jax==0.10.2 jaxlib==0.10.2 numpy==2.4.6
cd "$folder"
JAX_PLATFORMS=cpu "$folder/venv/bin/python" - <<'PY'
import jax
import jax.numpy as jnp
from jax.experimental import checkify

x, index = jnp.ones((4, 10)), jnp.zeros((4, 1), int)


def picked(x, index):
    return jnp.take_along_axis(x, index, axis=-1).sum()


def plain(x, index):
    return x[jnp.arange(4), index[:, 0]].sum()


def seen(function, index=index):
    try:
        error, _ = checkify.checkify(function, errors=checkify.index_checks)(x, index)
    except IndexError as e:
        return str(e)
    return "out of bounds" if error.get() else "nothing"


results = {
    "forward": seen(picked),
    "forward, index 10 of 10": seen(picked, index + 10),
    "gradient of plain indexing": seen(jax.grad(plain)),
    "gradient": seen(jax.grad(picked)),
}
print(results)
assert list(results.values()) == [
    "nothing", "out of bounds", "nothing", "tuple index out of range"
]
PY
