#!/usr/bin/env bash
# jax 0.10.2, CPU: 3-D convolutions, and the gradient of one with strides.
# Guess: a convolution of volumes costs about what its multiplications cost in 2-D, as both
# go to the same library of kernels.
# Seen: the sum of the 2-D convolutions of its slices, which is the same, takes a quarter of
# the time; with strides of 2, the gradient takes 10 to 45 times as long as that of the sum.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check jax==0.10.2 jaxlib==0.10.2 numpy==2.4.6
cd "$folder"
JAX_PLATFORMS=cpu "$folder/venv/bin/python" - <<'PY'
import time

import jax
import jax.numpy as jnp

x = jax.random.normal(jax.random.key(0), (1, 40, 40, 40, 16))
kernel = jax.random.normal(jax.random.key(1), (3, 3, 3, 16, 16))


def of_volumes(x, kernel, stride):
    return jax.lax.conv_general_dilated(
        *(x, kernel, (stride,) * 3, [(1, 1)] * 3),
        dimension_numbers=("NDHWC", "DHWIO", "NDHWC"),
    )


def of_slices(x, kernel, stride):
    x = jnp.pad(x[0], ((1, 1), (0, 0), (0, 0), (0, 0)))
    parts = (
        jax.lax.conv_general_dilated(
            *(x[i : i + 39 + stride % 2 : stride], kernel[i], (stride,) * 2, [(1, 1)] * 2),
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )
        for i in range(3)
    )
    return sum(parts)[None]


def seconds(function):
    """The processor time of the best of five calls, which others don't disturb."""
    jitted = jax.jit(function)
    result = jax.block_until_ready(jitted(x, kernel))
    times = []
    for _ in range(5):
        start = time.process_time()
        jax.block_until_ready(jitted(x, kernel))
        times.append(time.process_time() - start)
    return min(times), result


def ratio(stride, is_gradient):
    def run(conv):
        def function(x, kernel):
            return conv(x, kernel, stride)

        if is_gradient:
            return seconds(jax.grad(lambda *a: jnp.square(function(*a)).sum(), (0, 1)))
        return seconds(function)

    (slow, a), (fast, b) = run(of_volumes), run(of_slices)
    for p, q in zip(jax.tree.leaves(a), jax.tree.leaves(b)):
        assert jnp.abs(p - q).max() < 1e-4 * jnp.abs(p).max()
    return slow / fast


forward, gradient = ratio(1, False), ratio(2, True)
print(f"stride 1: {forward:.1f} times, gradient at stride 2: {gradient:.1f} times")
assert forward > 1.5 and gradient > 5
PY
