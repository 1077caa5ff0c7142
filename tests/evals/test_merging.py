"""The states of many batches are merged in the order of the dataset."""

from __future__ import annotations

import dataclasses

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kauldron import kd, metrics
from kauldron.evals import _merging, example_rows, rows_in_memory
from kauldron.train import auxiliaries
from tests.train import small_run


@flax.struct.dataclass
class First(metrics.CollectFirstState):
    x: jax.Array


@flax.struct.dataclass
class All(metrics.CollectingState):
    x: jax.Array


@dataclasses.dataclass(frozen=True, kw_only=True)
class Inputs(metrics.Metric):
    """The inputs of the first examples, or of all."""

    keep_first: int | None = None
    x: kd.kontext.Key = "batch.x"

    def get_state(self, x):
        if self.keep_first is None:
            return All(x=x)
        return First(x=x, keep_first=self.keep_first)


def _aux(**states):
    return auxiliaries.AuxiliariesState(metric_states=states)


@pytest.mark.parametrize("num_batches", [1, 2, 3, 4, 7])
def test_what_is_collected_stays_in_the_order_of_the_batches(num_batches):
    merging = _merging.Merging()
    for i in range(num_batches):
        x = jnp.arange(4.0) + 10 * i
        merging.add(_aux(all=All(x=x), first=First(x=x, keep_first=6)))
    states = merging.result().metric_states
    expected = np.concatenate([np.arange(4.0) + 10 * i for i in range(num_batches)])
    np.testing.assert_array_equal(states["all"].compute().x, expected)
    np.testing.assert_array_equal(states["first"].compute().x, expected[:6])


def test_nothing_added_gives_nothing():
    assert _merging.Merging().result() is None


def test_an_evaluation_collects_the_first_examples_of_the_dataset(tmp_path):
    evaluator = kd.evals.Evaluator(
        run=kd.evals.Final(),
        ds=small_run.make_ds(training=False, batch_size=8),
        losses={},
        metrics={},
        summaries={"first": Inputs(keep_first=11), "all": Inputs()},
        writer=kd.train.metric_writer.NoopWriter(),
    )
    trainer = small_run.make_trainer(tmp_path, evals={"test": evaluator})
    aux = trainer.evals["test"].evaluate(trainer.init_state(), 0)
    states = aux.finalize().summary_states
    source = small_run.Points().x
    np.testing.assert_array_equal(states["first"].compute().x, source[:11])
    np.testing.assert_array_equal(states["all"].compute().x, source)


def test_a_state_that_cannot_be_merged_fails_in_compute_and_costs_no_other():
    @flax.struct.dataclass
    class Odd(metrics.AverageState):
        def merge(self, other):
            raise LookupError("odd")

    merging = _merging.Merging()
    for _ in range(5):
        ones = np.ones(3, np.float32)
        merging.add(
            _aux(odd=Odd.from_values(ones), even=metrics.AverageState.from_values(ones))
        )
    failures = []
    values = merging.result().compute(failures=failures)
    assert dict(values.metric_values) == {"metrics/even": 1.0}
    # Merged with what has not failed, from either side, it stays so.
    fresh = _aux(
        odd=Odd.from_values(np.ones(3)),
        even=metrics.AverageState.from_values(np.array([5.0])),
    )
    for both in (
        fresh.merge_each(merging.result()),
        merging.result().merge_each(fresh),
    ):
        with pytest.raises(LookupError):
            both.metric_states["odd"].compute()
        assert both.metric_states["even"].compute() == 20 / 16
    [failure] = failures
    assert failure.where("test") == "cfg.evals['test'].metrics['odd']"
    with pytest.raises(LookupError, match="odd"):
        merging.result().compute()


def _rows_of(start, stop):
    return example_rows.Rows(
        arrays={"score": jnp.arange(start, stop) / 2.0},
        host_arrays={"name": np.array([f"n{i}" for i in range(start, stop)], object)},
        num_rows=stop - start,
        is_whole=False,
    )


@pytest.mark.parametrize("sizes", [[3], [3, 3], [4, 4, 4, 1]])
def test_rows_of_all_batches_are_kept_once_and_in_order(sizes):
    with rows_in_memory.InMemory() as collected:
        stop = 0
        for size in sizes:
            start, stop = stop, stop + size
            collected.add(_rows_of(start, stop))
        for columns in (collected.columns(), collected.all_columns()):
            np.testing.assert_array_equal(columns["score"], np.arange(stop) / 2)
            assert columns["name"].tolist() == [f"n{i}" for i in range(stop)]


def test_large_states_stay_where_they_are_until_they_are_needed():
    """Pictures, of which only the first are kept."""
    small, large = jnp.zeros(2**16, jnp.uint8), jnp.zeros(2**16 + 1, jnp.uint8)
    merging = _merging.Merging()
    merging.add(_aux(small=All(x=small), large=All(x=large)))
    states = merging.result().metric_states
    assert isinstance(states["small"].x, np.ndarray)
    assert isinstance(states["large"].x, jax.Array)


def test_no_more_than_the_last_two_batches_wait():
    merging = _merging.Merging()
    num_merged = []

    @flax.struct.dataclass
    class Counted(metrics.AverageState):
        def merge(self, other):
            num_merged.append(1)
            return super().merge(other)

    expected = [0, 0, 0, 1, 2]  # the first has nothing to be merged with
    for count in expected:
        merging.add(_aux(mean=Counted.from_values(jnp.ones(3))))
        assert len(num_merged) == count
    assert merging.result().metric_states["mean"].count == 15
    assert len(num_merged) == 4


def test_states_that_only_one_side_has_are_kept():
    mean = metrics.AverageState.from_values(np.array([1.0, 3.0]))
    some = auxiliaries.AuxiliariesState(metric_states={"a": mean})
    others = auxiliaries.AuxiliariesState(loss_states={"b": mean})
    nothing = auxiliaries.AuxiliariesState()
    for merged in (some | None, None | some, some | nothing, nothing | some):
        assert merged.metric_states["a"].compute() == 2
        assert merged.loss_states is None
    for merged in (some | others, others.merge_each(some)):
        assert merged.metric_states["a"].compute() == 2
        assert merged.loss_states["b"].compute() == 2


def test_states_are_merged_in_the_order_in_which_they_stand():
    first, second = (_aux(all=All(x=jnp.full(2, i))) for i in (1, 2))
    for merged in (first | second, first.merge_each(second)):
        assert merged.metric_states["all"].compute().x.tolist() == [1, 1, 2, 2]


def test_a_state_that_cannot_be_put_together_fails_in_compute_and_costs_no_other():
    @flax.struct.dataclass
    class Odd(metrics.AverageState):
        def finalize(self):
            raise LookupError("odd")

    states = {
        "odd": Odd.from_values(np.ones(3)),
        "even": metrics.AverageState.from_values(np.ones(3)),
    }
    aux = auxiliaries.AuxiliariesState(loss_states=states, metric_states=states)
    failures = []
    values = aux.compute(failures=failures)
    assert dict(values.metric_values) == {"metrics/even": 1.0}
    # A sum without one of its terms is no total.
    assert dict(values.loss_values) == {"losses/even": 1.0}
    assert [f.where("train") for f in failures] == [
        "cfg.train_losses['odd']",
        "cfg.train_metrics['odd']",
    ]
    with pytest.raises(LookupError):
        aux.compute()
