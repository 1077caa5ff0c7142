"""Learning rates are found in optimizers, and logged without being asked for."""

from __future__ import annotations

import json

import numpy as np
import optax
import pytest

from kauldron import kd, konfig, optim
from tests.optim import contract
from tests.train import small_run

pytestmark = pytest.mark.usefixtures("quick_compile")

RAMP = optax.linear_schedule(0.0, 1.0, 10)


def rates_at(optimizer, step):
    found = optim.learning_rates(optimizer)
    return {name: round(float(rate(step)), 6) for name, rate in found.items()}


# What optax makes of a rate of 0.03, or of one of 0.4 by a schedule, where it is not 0.03
# or 0.4 for all parameters.
SPECIAL = {
    "contrib.cocob": ({}, {}),  # has none
    "contrib.muon": ({"muon": 0.03, "adam": 0.03}, {"muon": 0.4, "adam": 0.4}),
    # Its updates are multiplied with rate / sqrt(1 + rate**2).
    "fromage": ({"": 0.029987}, {"": 0.371391}),
    "rprop": ({}, {}),  # each number has a step size of its own
}
NO_SCHEDULES = ("contrib.cocob", "rprop", "sm3")


@pytest.mark.parametrize("name", contract.OPTAX)
@pytest.mark.parametrize("rate", [0.03, RAMP], ids=["constant", "schedule"])
def test_rate_of_every_optimizer_of_optax_is_found(name, rate):
    make = optax
    for part in name.split("."):
        make = getattr(make, part)
    is_schedule = rate is RAMP and name not in NO_SCHEDULES
    kwargs = dict(contract.OPTAX[name])
    if name not in contract.WITHOUT_RATE:
        kwargs["learning_rate"] = RAMP if is_schedule else 0.03
    expected = SPECIAL.get(name, ({"": 0.03}, {"": 0.4}))[is_schedule]
    assert rates_at(make(**kwargs), 4) == expected


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: optax.set_to_zero(), {}),
        (lambda: None, {}),
        (lambda: optax.contrib.cocob(), {}),
        (lambda: optax.chain(optax.scale_by_adam(), optax.scale(-0.1)), {"": 0.1}),
        (
            lambda: optax.chain(
                optax.scale_by_adam(), optax.scale_by_schedule(RAMP), optax.scale(-1.0)
            ),
            {"": 0.4},
        ),
        (
            lambda: optax.chain(
                optax.scale_by_adam(), optax.scale_by_schedule(lambda s: -RAMP(s))
            ),
            {"": 0.4},
        ),
        (lambda: optax.chain(optax.adam(RAMP), optax.scale(0.5)), {"": 0.2}),
        (
            lambda: optim.named_chain(
                clip=optax.clip(1.0),
                adam=optax.adam(RAMP),
                wd=optim.ema_params(decay=0),
            ),
            {"": 0.4},
        ),
        (
            lambda: optim.named_chain(
                a=optax.masked(optax.sgd(1e-2), optim.select("a")),
                b=optax.masked(optax.sgd(RAMP), optim.select("b")),
            ),
            {"a": 0.01, "b": 0.4},
        ),
        (
            lambda: optim.partial_updates(optax.adam(0.1), optim.select("a")),
            {"": 0.1},
        ),
        (
            lambda: optim.by_path(
                {"a": None, "**.bias": optax.sgd(RAMP), "**": optax.adam(0.1)}
            ),
            {"bias": 0.4, "rest": 0.1},
        ),
        (
            lambda: optax.chain(
                optim.by_path({"a": optax.sgd(0.2), "**": optax.adam(0.1)}),
                optax.scale(0.5),
            ),
            {"a": 0.1, "rest": 0.05},
        ),
        (lambda: optim.muon(RAMP), {"": 0.4}),
        (
            lambda: optim.muon(RAMP, adam_learning_rate=1e-3),
            {"muon": 0.4, "adam": 0.001},
        ),
        # A constant is kept in the state, where it may be changed.
        (lambda: optax.inject_hyperparams(optax.adam)(learning_rate=0.1), {}),
        (lambda: optax.inject_hyperparams(optax.adam)(learning_rate=RAMP), {"": 0.4}),
        (lambda: optax.apply_if_finite(optax.adam(RAMP), 3), {"": 0.4}),
        (lambda: optax.lookahead(optax.sgd(RAMP), 5, 0.5), {"": 0.4}),
        # Two steps for one update: at step 4, two updates were made.
        (lambda: optax.MultiSteps(optax.adam(RAMP), 2), {"": 0.2}),
        (
            lambda: optax.MultiSteps(optax.adam(RAMP), 2).gradient_transformation(),
            {"": 0.2},
        ),
        (
            lambda: optax.MultiSteps(optax.adam(RAMP), lambda s: s + 1),
            {},  # how many updates there were is not known
        ),
    ],
)
def test_rates_of_what_is_built_of_optimizers(make, expected):
    assert rates_at(make(), 4) == expected


def _train(workdir, **changes):
    small_run.make_trainer(
        workdir, num_train_steps=3, log_metrics_every=1, **changes
    ).train()
    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    return [
        {k: v for k, v in json.loads(line).items() if k.startswith("schedules/")}
        for line in lines
    ]


def test_rate_is_logged_without_the_user_doing_anything(tmp_path):
    cosine = optax.cosine_decay_schedule(1e-2, 3)
    records = _train(tmp_path, optimizer=optax.adam(cosine))
    # 0.01 * (1 + cos(pi * step / 3)) / 2
    np.testing.assert_allclose(
        [r.pop("schedules/learning_rate") for r in records],
        [0.01, 0.0075, 0.0025],
        rtol=1e-6,  # f32
    )
    assert records == [{}, {}, {}]


def test_rate_that_the_user_logs_is_not_logged_twice(tmp_path):
    records = _train(tmp_path, optimizer=optax.sgd(RAMP), schedules={"lr": RAMP})
    assert [list(r) for r in records] == [["schedules/lr"]] * 3


def test_the_rate_that_is_used_is_logged_and_not_a_schedule_of_its_name():
    used = optim.schedules_to_log(optax.adam(3e-4), {"learning_rate": RAMP, "b": RAMP})
    assert {k: float(v(1)) for k, v in used.items()} == {
        "learning_rate": 3e-4,
        "b": float(RAMP(1)),
    }


def test_other_optimizer_brings_its_own_rate(tmp_path):
    trainer = small_run.make_trainer(tmp_path)
    assert trainer.logged_schedules["learning_rate"](0) == 0.01
    changed = trainer.replace(
        optimizer=optim.by_path({"layers_0": optax.sgd(0.5), "**": optax.sgd(0.1)})
    )
    assert {k: v(0) for k, v in changed.logged_schedules.items()} == {
        "learning_rate/layers_0": 0.5,
        "learning_rate/rest": 0.1,
    }


def test_rate_from_a_config_follows_its_references():
    with konfig.imports(lazy=True):
        import optax as lazy_optax

    cfg = konfig.ConfigDict({"num_train_steps": 100})
    cfg.optimizer = lazy_optax.adam(
        lazy_optax.cosine_decay_schedule(1.0, cfg.ref.num_train_steps)
    )
    cfg.num_train_steps = 10
    resolved = konfig.resolve(cfg)
    assert rates_at(resolved["optimizer"], 5) == {"": 0.5}


def test_schedule_of_accumulated_updates_is_slower():
    assert kd.optim.slowed_down(RAMP, 4)(8) == RAMP(2)


def test_schedule_that_is_plain_python_is_logged_as_it_is():
    def drop(step):
        return 0.1 if step < 5 else 0.01

    logged = optim.schedules_to_log(None, {"drop": drop})
    assert [logged["drop"](step) for step in (0, 4, 5)] == [0.1, 0.1, 0.01]


def test_logged_schedule_is_compiled_once():
    num_traces = 0

    def ramp(step):
        nonlocal num_traces
        num_traces += 1
        return step * 0.5

    logged = optim.schedules_to_log(None, {"ramp": ramp})
    assert [float(logged["ramp"](step)) for step in range(4)] == [0.0, 0.5, 1.0, 1.5]
    assert num_traces == 1


def test_a_factor_that_does_not_descend_is_no_learning_rate():
    for optimizer in (optax.scale(0.5), optax.chain(optax.clip(1.0), optax.scale(0.5))):
        assert optim.learning_rates(optimizer) == {}
    (rate,) = optim.learning_rates(optax.scale(-0.5)).values()
    assert rate(0) == 0.5
