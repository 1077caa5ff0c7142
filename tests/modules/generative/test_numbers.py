"""Schedules, parameterisations and samplers against the equations of their papers."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kauldron import kd
from kauldron.modules.generative import _parameterizations

pytestmark = pytest.mark.usefixtures("quick_compile")

# Data N(MEAN, STD**2): every quantity of the samplers has a closed form.
MEAN, STD = 0.7, 0.4


def test_linear_schedule_has_the_published_values():
    schedule = kd.nn.LinearNoise()
    expected, left = [1.0], 1.0
    for t in range(1, 1001):
        beta = 1e-4 + (0.02 - 1e-4) * (t - 1) / 999
        left *= 1 - beta
        expected.append(left)
    np.testing.assert_allclose(schedule.alpha_bars, expected, rtol=1e-12)
    # Ho et al. 2020, section 4: the signal that is left at T.
    np.testing.assert_allclose(schedule.alpha_bars[-1], 4.04e-5, rtol=0.01)


def test_cosine_schedule_is_a_squared_cosine_until_its_betas_are_clipped():
    schedule = kd.nn.CosineNoise(num_steps=100)
    f = [np.cos((t / 100 + 0.008) / 1.008 * np.pi / 2) ** 2 for t in range(101)]
    expected = np.array(f) / f[0]
    np.testing.assert_allclose(schedule.alpha_bars[:-1], expected[:-1], rtol=1e-9)
    assert schedule.betas[-1] == 0.999
    assert 0 < schedule.alpha_bars[-1] < 1e-5


def test_schedule_whose_noise_is_out_of_range_says_which():
    with pytest.raises(ValueError, match=r"must be in \(0, 1\).* to 1.5"):
        kd.nn.LinearNoise(last_beta=1.5)
    with pytest.raises(ValueError, match="at least 1: got 0"):
        kd.nn.CosineNoise(num_steps=0)


@pytest.mark.parametrize("predicts", ["eps", "v", "x0"])
def test_the_image_behind_a_perfect_prediction_is_the_image(predicts):
    rng = np.random.default_rng(0)
    x0, eps = rng.normal(size=(2, 5, 3)).astype(np.float32)
    share = np.float32([[0.1], [0.5], [0.9], [0.99], [0.01]])
    noisy = _parameterizations.add_noise(x0, eps, share)
    target = _parameterizations.target_of(x0, eps, share, predicts=predicts)
    np.testing.assert_allclose(noisy, share**0.5 * x0 + (1 - share) ** 0.5 * eps, 1e-6)
    image = _parameterizations.image_of(target, noisy, share, predicts=predicts)
    np.testing.assert_allclose(image, x0, rtol=1e-4, atol=1e-5)


def test_v_is_the_derivative_along_the_angle_between_image_and_noise():
    # x = cos(phi) x0 + sin(phi) eps, v = dx/dphi (Salimans & Ho 2022, appendix D).
    x0, eps, phi, h = 0.3, -1.2, 0.6, 1e-5
    x = lambda phi: np.cos(phi) * x0 + np.sin(phi) * eps  # noqa: E731 (a formula)
    derivative = (x(phi + h) - x(phi - h)) / (2 * h)
    as_arrays = (jnp.float32([value]) for value in (x0, eps, np.cos(phi) ** 2))
    v = _parameterizations.target_of(*as_arrays, predicts="v")
    np.testing.assert_allclose(v, [derivative], rtol=1e-5)


def _velocity(x, t):
    """Expected image minus noise, at `x = (1 - t) noise + t image`."""
    covariance = t * STD**2 - (1 - t)
    return MEAN + covariance / (t**2 * STD**2 + (1 - t) ** 2) * (x - t * MEAN)


def _expected_image(share, x):
    gain = STD**2 * share**0.5 / (share * STD**2 + 1 - share)
    return MEAN + gain * (x - share**0.5 * MEAN)


def _denoise(schedule, x, t):
    step = jnp.round(t * schedule.num_steps).astype(int)
    return _expected_image(jnp.asarray(schedule.alpha_bars, jnp.float32)[step], x)


def _affine(sampler):
    """Returns mean and standard deviation of samples: exact fields are affine."""
    at = jax.jit(sampler)(jnp.float32([0.0, 1.0]))
    return float(at[0]), float(at[1] - at[0])


def _error(sampler):
    mean, std = _affine(sampler)
    return max(abs(mean - MEAN), abs(std - STD))


@pytest.mark.parametrize(("name", "order"), [("euler", 1), ("heun", 2)])
def test_flow_samplers_reach_the_data_with_an_error_of_their_order(name, order):
    run = functools.partial(getattr(kd.nn, name), _velocity)
    coarse, fine = (_error(functools.partial(run, num_steps=n)) for n in (40, 80))
    assert fine < (0.02 if order == 1 else 1e-3)
    # Twice the steps, an error smaller by 2**order; the constant settles slowly.
    assert 2 ** (order - 0.25) < coarse / fine < 2 ** (order + 0.35)


def test_euler_is_the_sum_of_its_steps():
    x, n = np.float64(1.3), 4
    for i in range(n):
        x = x + _velocity(x, i / n) / n
    y = kd.nn.euler(_velocity, jnp.float32([1.3]), num_steps=n)
    np.testing.assert_allclose(y, [x], rtol=1e-6)


@pytest.mark.parametrize(
    "schedule", [kd.nn.LinearNoise(), kd.nn.CosineNoise()], ids=repr
)
def test_ddim_turns_noise_into_data_of_the_right_mean_and_spread(schedule):
    denoise = functools.partial(_denoise, schedule)
    run = functools.partial(kd.nn.ddim, denoise, schedule=schedule, num_steps=200)
    mean, std = _affine(run)
    np.testing.assert_allclose([mean, std], [MEAN, STD], atol=0.01)


def test_ddim_steps_follow_equation_12():
    schedule = kd.nn.CosineNoise(num_steps=12)
    x, bars = np.float64(-0.4), schedule.alpha_bars
    for t, after in [(12, 8), (8, 4), (4, 0)]:
        x0 = _expected_image(bars[t], x)
        eps = (x - bars[t] ** 0.5 * x0) / (1 - bars[t]) ** 0.5
        x = bars[after] ** 0.5 * x0 + (1 - bars[after]) ** 0.5 * eps
    denoise = functools.partial(_denoise, schedule)
    y = kd.nn.ddim(denoise, jnp.float32([-0.4]), schedule=schedule, num_steps=3)
    np.testing.assert_allclose(y, [x], rtol=1e-5)


def _posterior_chain(schedule, num_steps):
    """Mean and variance of ancestral samples, by the posterior of DDPM (eq. 6 and 7)."""
    bars = schedule.alpha_bars
    # From the infinitely noisy start N(0, 1) of the samplers.
    mean, variance = 0.0, 1.0
    for t in range(num_steps, 0, -1):
        beta, bar, before = schedule.betas[t - 1], bars[t], bars[t - 1]
        of_x0 = before**0.5 * beta / (1 - bar)
        of_x = (1 - beta) ** 0.5 * (1 - before) / (1 - bar)
        gain = STD**2 * bar**0.5 / (bar * STD**2 + 1 - bar)
        slope = of_x0 * gain + of_x
        mean = of_x0 * (MEAN - gain * bar**0.5 * MEAN) + slope * mean
        variance = slope**2 * variance + beta * (1 - before) / (1 - bar)
    return mean, variance


def test_ancestral_samples_have_mean_and_variance_of_the_ddpm_posterior():
    schedule = kd.nn.CosineNoise(num_steps=100)
    sampler = functools.partial(
        kd.nn.ancestral,
        functools.partial(_denoise, schedule),
        schedule=schedule,
        num_steps=100,
    )
    noise = jax.random.normal(jax.random.key(0), (40_000,))
    samples = np.asarray(jax.jit(sampler)(noise, rng=jax.random.key(1)))
    mean, variance = _posterior_chain(schedule, 100)
    # Four standard errors of the mean and of the variance of 40,000 normal draws.
    assert abs(samples.mean() - mean) < 4 * (variance / 40_000) ** 0.5
    assert abs(samples.var() - variance) < 4 * variance * (2 / 40_000) ** 0.5
    # ... which are those of the data but for the length of the steps.
    np.testing.assert_allclose([mean, variance], [MEAN, STD**2], atol=0.02)


@pytest.mark.parametrize("num_steps", [0, 101])
def test_more_steps_than_the_schedule_has_are_refused(num_steps):
    schedule = kd.nn.LinearNoise(num_steps=100)
    with pytest.raises(ValueError, match=rf"in \[1, 100\].*got {num_steps}"):
        kd.nn.ddim(_velocity, jnp.zeros(2), schedule=schedule, num_steps=num_steps)


def test_flow_samplers_need_a_step():
    with pytest.raises(ValueError, match="at least 1: got 0"):
        kd.nn.heun(_velocity, jnp.zeros(2), num_steps=0)
