"""Convolutions of volumes are what XLA's are, gradients included."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from kauldron import kd

_DIMS = ("NDHWC", "DHWIO", "NDHWC")


@pytest.mark.parametrize(
    ("conv", "options"),
    [
        (
            kd.nn.Conv(4, (3, 1, 3), strides=(2, 1, 3), kernel_dilation=(2, 1, 1)),
            {
                "window_strides": (2, 1, 3),
                "rhs_dilation": (2, 1, 1),
                "padding": [(2, 2), (0, 0), (1, 1)],
            },
        ),
        (
            kd.nn.Conv(4, (4, 3, 2), feature_group_count=2, padding=(2, 0, 1)),
            {
                "window_strides": (1, 1, 1),
                "feature_group_count": 2,
                "padding": [(2, 2), (0, 0), (1, 1)],
            },
        ),
        (
            kd.nn.ConvTranspose(4, (2, 1, 3), strides=(2, 1, 3)),
            {
                "window_strides": (1, 1, 1),
                "lhs_dilation": (2, 1, 3),
                "padding": [(1, 1), (0, 0), (2, 2)],
            },
        ),
        (
            kd.nn.ConvTranspose(4, (4, 2, 2), strides=2),
            {
                "window_strides": (1, 1, 1),
                "lhs_dilation": (2, 2, 2),
                "padding": [(2, 2), (1, 1), (1, 1)],
            },
        ),
    ],
    ids=["strides and dilation", "groups", "transposed", "transposed, overlapping"],
)
def test_convolutions_of_volumes_are_those_of_xla_with_their_gradients(conv, options):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 6, 5, 6, 2)).astype(np.float32)
    channels = 2 // options.get("feature_group_count", 1)
    shape = (*conv.kernel_size, channels, 4)
    kernel = rng.standard_normal(shape).astype(np.float32)
    bias = np.zeros(4, np.float32)

    def ours(x, kernel):
        return conv.apply({"params": {"kernel": kernel, "bias": bias}}, x)

    def theirs(x, kernel):
        return jax.lax.conv_general_dilated(
            x, kernel, dimension_numbers=_DIMS, **options
        )

    @jax.jit
    def both(x, kernel):
        results = []
        for function in (ours, theirs):
            y, pull = jax.vjp(function, x, kernel)
            results.append((y, *pull(jax.numpy.sin(y))))
        return results

    for found, expected in zip(*both(x, kernel), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
