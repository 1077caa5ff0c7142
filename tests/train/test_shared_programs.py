"""Programs that differ in a few numbers are compiled once, and give each its own result."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from kauldron import kd
from kauldron.step import shared_programs
from kauldron.step.rngs_lib import RngStreams
from tests.train import small_run


@pytest.fixture
def compiled():
    """The names of what XLA has compiled."""
    names = []

    def note(event: str, duration_secs: float, **about: str | int) -> None:
        if event.endswith("backend_compile_duration"):
            names.append(about.get("fun_name"))

    jax.monitoring.register_event_duration_secs_listener(note)
    yield names
    jax.monitoring.unregister_event_duration_listener(note)


def _scaled(rate, offset=0.0, seed=0, table=(1.0, 2.0)):
    """Returns a function of which rate, seed and table may differ in one program."""
    streams, held = RngStreams(seed=seed), jnp.asarray(table)

    def scaled(x):
        with shared_programs.varying_numbers():
            y = x * rate
        noise = jax.random.normal(streams.train_rngs(3)["dropout"], x.shape)
        return {"y": y + offset, "noise": noise, "held": held + 1.0}

    return scaled


@pytest.mark.parametrize(
    ("other", "is_compiled"),
    [
        ({"rate": 0.25, "seed": -7, "table": (3.0, 4.0)}, False),
        ({"rate": 0.0}, True),  # of which XLA makes a simpler program
        ({"rate": 0.5, "offset": 0.25}, True),
        ({"rate": 0.5, "table": (3.0,)}, True),
    ],
)
def test_numbers_that_vary_are_arguments_of_one_program(compiled, other, is_compiled):
    x = np.arange(3, dtype=np.float32)
    shared_programs.SharedJit(_scaled(0.5))(x)
    compiled.clear()
    jitted = shared_programs.SharedJit(_scaled(**other))
    given = jitted(x)
    assert ("jit(scaled)" in compiled) == is_compiled
    assert jitted._cache_size() == 1
    jax.tree.map(np.testing.assert_array_equal, given, jax.jit(_scaled(**other))(x))


def test_other_shapes_and_structures_are_other_programs(compiled):
    def double(tree):
        return {k: 2 * v for k, v in tree.items()}

    jitted = shared_programs.SharedJit(double)
    for names in ("a", "a", "b", "ab", "a", "b"):
        tree = {k: np.full(len(names), 3) for k in names}
        assert {k: v.tolist() for k, v in jitted(tree).items()} == {
            k: [6] * len(names) for k in names
        }
    assert jitted._cache_size() == compiled.count("jit(double)") == 3
    weak = jitted({"a": jnp.asarray(1.0)})["a"]
    strong = jitted({"a": jnp.asarray(np.float32(1.0))})["a"]
    assert weak.weak_type and not strong.weak_type


def test_functions_that_are_called_back_are_not_taken_for_each_other():
    def of(said):
        def tell(x):
            jax.debug.callback(said.append, 1)
            return x

        return shared_programs.SharedJit(tell)

    first, second = [], []
    for said in (first, second):
        of(said)(1.0)
    jax.effects_barrier()
    assert (len(first), len(second)) == (1, 1)


def test_inside_of_another_program_it_is_part_of_it():
    jitted = shared_programs.SharedJit(_scaled(0.5))
    inside = jax.jit(lambda x: jitted(x)["y"])
    assert inside(4.0) == jitted(4.0)["y"] == inside(4.0) == 2.0
    assert jax.eval_shape(jitted, 4.0)["y"].shape == ()


def test_a_run_compiles_nothing_after_one_with_another_seed_and_rate(
    tmp_path, compiled, monkeypatch
):
    def train(name, seed, rate):
        trainer = small_run.make_trainer(
            tmp_path / name,
            seed=seed,
            optimizer=optax.adamw(rate),
            num_train_steps=2,
            log_metrics_every=1,
        )
        return small_run.state_hash(trainer.train()[0])

    alone = train("alone", 5, 3e-2)
    monkeypatch.setattr(shared_programs, "_SHARED", shared_programs._Shared())
    others = {train("first", 4, 1e-2), train("rate", 5, 1e-2)}
    compiled.clear()
    assert train("again", 5, 3e-2) == alone and alone not in others
    assert {"jit(init)", "jit(_traced_step)"}.isdisjoint(compiled)


def _counted(traced):
    """Returns a model that notes each time it is traced."""

    class Counted(nn.Module):
        @nn.compact
        def __call__(self, x):
            traced.append(x.shape)
            return nn.Dense(2)(x)

    return kd.nn.Sequential(inputs="batch.x", outputs="logits", layers=[Counted()])


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"nan_guard": kd.train.NanGuard()},
        {"optimizer": optax.inject_hyperparams(optax.sgd)(learning_rate=0.1)},
        {"sharding": kd.sharding.ShardingStrategy(params=kd.sharding.FSDPSharding())},
    ],
    ids=["plain", "nan guard", "numbers in the state", "split"],
)
def test_the_check_of_keys_and_the_first_step_are_one_trace(tmp_path, changes):
    traced = []
    trainer = small_run.make_trainer(
        tmp_path, model=_counted(traced), num_train_steps=1, **changes
    )
    trainer.check()
    trainer.train()
    # For the initial state, in the step, and for the table of the model.
    assert len(traced) == 3


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"discard_opt": True},
        {"outputs": kd.evals.WriteOutputs(keys=["preds.logits"])},
    ],
    ids=["plain", "without optimizer", "outputs"],
)
def test_the_check_of_keys_and_the_first_evaluation_are_one_trace(tmp_path, changes):
    traced = []
    trainer = small_run.make_trainer(
        tmp_path,
        model=_counted(traced),
        evals={"eval": kd.evals.Evaluator(run=kd.evals.Final(), **changes)},
    )
    trainer.check()
    num_before = len(traced)
    state = trainer.init_state()
    trainer.evals["eval"].evaluate(state, step=0)
    assert traced[num_before:] == [(8, 3)]  # the rest, which is smaller


def test_the_specs_of_a_state_and_the_state_are_one_trace(tmp_path):
    traced = []
    trainer = small_run.make_trainer(tmp_path, model=_counted(traced))
    specs = trainer.state_specs
    state = trainer.init_state()
    assert traced == [(16, 3)]
    for array, spec in zip(*map(jax.tree.leaves, (state, specs)), strict=True):
        assert (array.shape, array.dtype) == (spec.shape, spec.dtype)
    assert small_run.state_hash(trainer.init_state()) == small_run.state_hash(state)


def _sines(x):
    for _ in range(50):
        x = jnp.sin(x)
    return x


def test_a_program_is_not_traced_equation_by_equation_a_second_time():
    shared = shared_programs.SharedJit(_sines)
    x = jnp.ones(3)
    shared(x)
    (use,) = shared._uses.values()
    traced = use.program.run.trace(use.constants, x)
    assert len(traced.jaxpr.eqns) < 5


def test_a_program_names_the_lines_that_it_comes_from():
    text = shared_programs.SharedJit(_sines).lower(jnp.ones(3)).compile().as_text()
    assert "_sines" in text
    assert __file__ in text


@pytest.mark.parametrize("inside_of", [jax.jit, jax.vmap, jax.jacfwd, jax.jacrev])
def test_inside_of_another_program_the_result_is_the_same(inside_of):
    def function(x):
        with jax.named_scope("metrics"):
            return {"sum": jnp.sin(x).sum(), "again": jnp.sin(x).sum() * x}

    x = jnp.linspace(0, 1, 3)
    expected = inside_of(function)(x)
    actual = inside_of(shared_programs.SharedJit(function))(x)
    for name, value in expected.items():
        np.testing.assert_allclose(actual[name], value, rtol=1e-6)
