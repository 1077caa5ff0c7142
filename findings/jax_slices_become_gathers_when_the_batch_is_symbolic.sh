#!/usr/bin/env bash
# jax 0.10.2: `x[:, 1:, ::2]` in a program for `jax.export`, with a symbolic first axis.
# Guess: a `slice`, as with a batch of four: the axes that are cut have known sizes.
# Seen: a `gather` (with its tables of indices), where a concrete batch gives a `slice`;
# `jax.lax.slice_in_dim` gives a `slice` with both.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check jax==0.10.2 jaxlib==0.10.2 numpy==2.4.6
cd "$folder"
JAX_PLATFORMS=cpu "$folder/venv/bin/python" - <<'PY'
import jax
from jax import export


def operators(function, batch):
    spec = jax.ShapeDtypeStruct((batch, 4, 6), "float32")
    found = set()
    waiting = [jax.jit(function).trace(spec).jaxpr.jaxpr]
    while waiting:
        for equation in waiting.pop().eqns:
            inner = equation.params.get("jaxpr")
            if inner is None:
                found.add(equation.primitive.name)
            else:
                waiting.append(inner.jaxpr)
    return found


def indexed(x):
    return x[:, 1:, ::2]


def sliced(x):
    x = jax.lax.slice_in_dim(x, 1, None, axis=1)
    return jax.lax.slice_in_dim(x, 0, None, stride=2, axis=2)


(b,) = export.symbolic_shape("b")
print("indexed:", operators(indexed, 4), operators(indexed, b))
print("sliced:", operators(sliced, 4), operators(sliced, b))
assert "gather" not in operators(indexed, 4) and "gather" in operators(indexed, b)
assert operators(sliced, 4) == operators(sliced, b) == {"slice"}
PY
