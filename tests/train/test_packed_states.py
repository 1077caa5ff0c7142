"""What a step has measured travels as one array, and is what it was."""

from __future__ import annotations

import functools

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kauldron import kd, metrics
from kauldron.evals import _merging
from kauldron.metrics import auto_state
from kauldron.step import _packed_values, auxiliaries, packed_states
from tests.train import small_run


@flax.struct.dataclass
class Sums(metrics.AutoState):
    total: jax.Array = metrics.sum_field()
    counts: jax.Array = metrics.sum_field()


@flax.struct.dataclass
class Highest(metrics.AutoState):
    highest: jax.Array = auto_state.max_field()


@flax.struct.dataclass
class Rows(metrics.AutoState):
    rows: jax.Array = metrics.concat_field()


@flax.struct.dataclass
class Product(metrics.AverageState):
    """Inherits from states that add up, and multiplies."""

    def merge(self, other):
        return self.replace(total=self.total * other.total)


def _packed(metric_states, strategy=None):
    """Measurements as a step returns them."""

    @jax.jit
    def measure(states):
        aux = auxiliaries.AuxiliariesState(metric_states=states)
        return aux.pack(strategy or kd.sharding.ShardingStrategy())

    return auxiliaries.AuxiliariesState.unpack(measure(metric_states))


def _merge_packed(batches):
    merging = _merging.Merging()
    for states in batches:
        merging.add(_packed(states))
    return merging.result().metric_states


def _merge_one_by_one(batches):
    """By the algebra of the states alone."""
    batches = [jax.tree.map(np.asarray, batch) for batch in batches]
    return functools.reduce(
        lambda a, b: {name: a[name].merge(b[name]) for name in a}, batches
    )


def _assert_same(actual, expected):
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        # Other shapes are added up apart, so f64 may be rounded elsewhere.
        np.testing.assert_allclose(a, b, rtol=1e-15)


BITS = np.array([0x7FC00001, 0xFF800000, 0x80000000, 0x00000001], np.uint32)


@pytest.mark.parametrize(
    "array",
    [
        BITS.view(np.float32),  # NaN with a payload, -inf, -0, the smallest number
        np.array([[-(2**31), 2**31 - 1]], np.int32),
        np.array(2**32 - 1, np.uint32),
        np.array([True, False]),
        np.zeros((0, 3), np.float32),
        np.arange(5000, dtype=np.float32),  # too large to be packed
        np.arange(3, dtype=np.uint8),
        jnp.bfloat16(1.5),
    ],
    ids=lambda x: f"{x.dtype}{x.shape}",
)
def test_arrays_come_back_bit_by_bit(array):
    state = Sums(total=np.float32(1), counts=array)

    unpacked = _packed({"x": state}).metric_states["x"].counts

    assert (unpacked.dtype, unpacked.shape) == (array.dtype, array.shape)
    assert np.asarray(unpacked).tobytes() == np.asarray(array).tobytes()


CLASSES = {"logits": "logits", "labels": "labels"}


def _states_of_kinds():
    return {
        "mean": metrics.AverageState.from_values(np.float32([1, 2, 4]) / 3),
        "mean of nothing": metrics.AverageState.empty(),
        "mean of infinity": metrics.AverageState.from_values(np.float32([np.inf, 1])),
        "mean with labels": kd.metrics.Accuracy(**CLASSES).get_state(
            logits=np.eye(3, dtype=np.float32), labels=np.int32([[0], [1], [1]])
        ),
        "loss": kd.losses.L2(preds="x", targets="x", weight=0.7).get_state(
            preds=np.float32([[1, 2]]), targets=np.zeros((1, 2), np.float32)
        ),
        "loss of nothing": kd.losses.L2(preds="x", targets="x").get_state(
            preds=np.ones((1, 2)), targets=np.zeros((1, 2)), mask=np.zeros((1, 1))
        ),
        "means of examples": metrics.AverageState(
            total=np.float32([1, 2]), count=np.float32([3, 0])
        ),
        "not a mean": Sums(total=np.float32(2), counts=np.arange(3)),
        "mean of counts": metrics.AverageState(
            total=np.int32(2**31 - 1), count=np.int32(2**24 + 1)
        ),
        "mean of a sum and a count": metrics.AverageState(
            total=np.float32(0.1), count=np.int32(7)
        ),
        "mean of flags": metrics.AverageState(total=np.bool_(1), count=np.uint32(3)),
        "tree": {"a": [metrics.AverageState.from_values(np.float32(3))], "b": {}},
    }


def _computed(states):
    """Values of a tree of states, each by itself."""
    if metrics.State.isinstance(states):
        return jax.tree.map(np.asarray, states).compute()
    if isinstance(states, dict):
        return {k: _computed(x) for k, x in states.items()}
    return [_computed(x) for x in states]


@pytest.mark.filterwarnings("ignore:invalid value")
def test_values_of_packed_states_are_those_of_the_states_bit_by_bit():
    states = jax.jit(_states_of_kinds)()
    aux = _packed(states)
    failures = []

    values = aux.compute_numbers(failures).metric_values

    assert [f.keys for f in failures] == [("not a mean",)]  # its value is a namespace
    assert aux.packed is not None  # no state was made
    expected = {**_computed(states), "not a mean": {}}
    assert jax.tree.structure(values) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(values), jax.tree.leaves(expected), strict=True):
        assert (a.shape, a.dtype, a.tobytes()) == (b.shape, b.dtype, b.tobytes())


def test_no_state_is_made_for_means_of_sums_or_counts(monkeypatch):
    def no_state(values, state):
        raise AssertionError(f"a state was made: {state}")

    monkeypatch.setattr(_packed_values.PackedValues, "unpack", no_state)
    states = _states_of_kinds()
    del states["means of examples"], states["not a mean"]

    values = _packed(states).compute_numbers().metric_values

    assert values["mean with labels"] == np.float32(2 / 3)  # hits are counted


def test_label_that_is_no_class_fails_its_metric_alone_in_packed_states():
    metric = kd.metrics.Accuracy(**CLASSES)
    good, bad = (
        metric.get_state(logits=np.eye(2, dtype=np.float32), labels=np.int32(labels))
        for labels in ([[0], [0]], [[0], [7]])
    )
    failures = []

    values = _packed({"good": good, "bad": bad}).compute_numbers(failures)

    [failure] = failures
    assert failure.keys == ("bad",)
    assert isinstance(failure.error, kd.metrics.LabelError)
    assert "got 7" in str(failure.error)
    assert values.metric_values == {"good": 0.5, "bad": {}}


def test_a_class_that_computes_something_else_of_sums_is_no_mean():
    @flax.struct.dataclass
    class Doubled(metrics.AverageState):
        def compute(self):
            return 2 * super().compute()

    @flax.struct.dataclass
    class Shifted(metrics.AverageState):
        def finalize(self):
            return self.replace(total=self.total + 1)

    total = {"total": np.float32(6), "count": np.float32(2)}
    aux = _packed({"doubled": Doubled(**total), "shifted": Shifted(**total)})

    assert aux.compute().metric_values == {
        "metrics/doubled": 6.0,
        "metrics/shifted": 3.5,
    }


def test_a_step_returns_one_array_of_measurements(tmp_path):
    trainer = small_run.make_trainer(tmp_path)
    state = trainer.init_state()
    num_state_arrays = len(jax.tree.leaves(state))

    compiled = small_run.compile_step(trainer)

    assert len(jax.tree.leaves(compiled.out_info)) == num_state_arrays + 1


def test_a_step_that_measures_nothing_returns_its_state_alone(tmp_path):
    trainer = small_run.make_trainer(tmp_path)
    state = trainer.init_state()
    batch = next(iter(trainer.train_ds.device_put(trainer.sharding.batch)))

    _, aux = trainer.trainstep.step(state, batch)

    assert aux.packed is None
    assert (aux.loss_states, aux.metric_states, aux.summary_states) == (None,) * 3
    _, aux = trainer.trainstep.step(trainer.init_state(), batch, return_metrics=True)
    assert aux.loss_states is None
    assert set(aux.metric_states) == {"accuracy"}


def test_a_step_inside_of_a_program_measures_the_same(tmp_path):
    trainer = small_run.make_trainer(tmp_path)
    batch = next(iter(trainer.train_ds.device_put(trainer.sharding.batch)))
    step = functools.partial(
        trainer.trainstep.step, return_losses=True, return_metrics=True
    )

    @jax.jit
    def outer(state, batch):
        return step(state, batch)[1]

    inside = outer(trainer.init_state(), batch).compute()
    _, aux = step(trainer.init_state(), batch)
    outside = aux.compute()

    assert inside.metric_values == outside.metric_values
    assert inside.loss_values["losses/total"] == pytest.approx(
        outside.loss_values["losses/total"], rel=1e-6
    )


def test_what_is_split_over_devices_stays_where_it_is():
    strategy = kd.sharding.ShardingStrategy(aux=kd.sharding.FIRST_DIM)
    rows = np.arange(jax.device_count() * 2, dtype=np.float32)

    aux = _packed({"x": Rows(rows=rows)}, strategy)

    array = aux.metric_states["x"].rows
    assert isinstance(array, jax.Array)
    assert len(array.sharding.device_set) == jax.device_count()
    np.testing.assert_array_equal(array, rows)


def _batch(i, *, label=0, num_rows=4):
    """States of all kinds, with values that depend on `i`."""
    rng = np.random.default_rng(i)
    accuracy = kd.metrics.Accuracy(logits="preds.logits", labels="batch.label")
    loss = kd.losses.L2(preds="preds.x", targets="batch.x", weight=0.3)
    x = rng.normal(size=(4, 2)).astype(np.float32)
    return {
        "loss": loss.get_state(preds=x, targets=np.zeros_like(x)),
        "accuracy": accuracy.get_state(
            logits=x, labels=np.array([[0], [1], [0], [label]], np.int32)
        ),
        "sums": Sums(
            total=x.sum(dtype=np.float32),
            counts=rng.integers(2**31, size=2, dtype=np.int32),
        ),
        "flags": Sums(total=rng.random(3) < 0.5, counts=np.uint32(2**32 - 1 - i)),
        "highest": Highest(highest=x.max()),
        "rows": Rows(rows=x[:num_rows]),
        "product": Product(total=x[0, 0], count=np.float32(1)),
    }


@pytest.mark.parametrize(
    ("labels", "num_rows"),
    [
        ([0], [4]),
        ([0, 1, 0, 1], [4, 4, 4, 4]),
        ([7, 0, 1, 0], [4, 4, 4, 4]),  # labels that are no classes
        ([0, 7, 7, 0, 1], [4, 4, 4, 4, 4]),
        ([0, 1, 0, 1, 0], [4, 4, 3, 3, 4]),  # other shapes: packed in another way
        ([0, 1, 7], [4, 3, 2]),
    ],
)
def test_packed_batches_merge_as_their_states_do(labels, num_rows):
    batches = [
        _batch(i, label=label, num_rows=num)
        for i, (label, num) in enumerate(zip(labels, num_rows, strict=True))
    ]

    _assert_same(
        jax.tree.map(np.asarray, _finalized(_merge_packed(batches))),
        jax.tree.map(np.asarray, _finalized(_merge_one_by_one(batches))),
    )


def _finalized(states):
    return {name: state.finalize() for name, state in states.items()}


def test_counts_beyond_what_32_bits_hold_are_exact():
    batches = [{"x": Sums(total=np.float32(2**24), counts=np.int32(2**31 - 1))}] * 3
    batches.append({"x": Sums(total=np.float32(1), counts=np.int32(1))})

    merged = _merge_packed(batches)["x"]

    assert int(merged.counts) == 3 * (2**31 - 1) + 1
    assert float(merged.total) == 3 * 2**24 + 1


def test_a_single_batch_is_merged_with_nothing():
    merged = _merge_packed([{"x": Sums(total=np.float32(0.1), counts=np.int32(3))}])

    assert merged["x"].total.dtype == np.float32


def test_labels_that_are_no_classes_are_told_from_any_batch():
    merged = _merge_packed([_batch(0), _batch(1, label=7), _batch(2)])

    with pytest.raises(ValueError, match=r"1 label of `labels`.*got 7"):
        merged["accuracy"].compute()


@pytest.mark.parametrize(
    ("state", "adds_up"),
    [
        (metrics.AverageState(total=1.0, count=1.0), True),
        (Sums(total=1, counts=1), True),
        (Highest(highest=1), False),
        (Rows(rows=1), False),
        (Product(total=1.0, count=1.0), False),
        (metrics.base_state.EmptyState(), False),
    ],
    ids=lambda x: type(x).__name__,
)
def test_which_states_add_up(state, adds_up):
    assert state.adds_up() is adds_up


def test_states_of_hooks_and_writers_are_read_when_they_look(tmp_path):
    seen = []

    class Look(kd.train.hooks.Hook):
        def after_step(self, run, *, step, state, aux):
            if aux.loss_states is not None:
                seen.append(float(aux.loss_states["xentropy"].compute()))

    trainer = small_run.make_trainer(tmp_path, hooks={"look": Look()})
    _, aux = trainer.train()

    assert len(seen) == 5  # every second of ten steps is logged
    assert seen[-1] == pytest.approx(
        float(aux.compute().loss_values["losses/xentropy"]), rel=1e-6
    )
    assert packed_states.PackedStates.__name__ not in repr(aux)
