"""What a run measured: computed once, beside the training, and kept apart."""

from __future__ import annotations

import threading

import flax.struct
import jax
import numpy as np
import pytest

from kauldron import kd, metrics
from kauldron.recording import recorder as recorder_lib


@flax.struct.dataclass
class Constant(metrics.State):
    """A state whose value is known; it counts how often it is computed."""

    value: object = flax.struct.field(pytree_node=False)
    computed: list = flax.struct.field(pytree_node=False, default_factory=list)

    def merge(self, other):
        return self

    def compute(self):
        self.computed.append(threading.current_thread().name)
        if isinstance(self.value, Exception):
            raise self.value
        return self.value


class Keeping(kd.train.Writer):
    """Keeps what it is given."""

    @property
    def kept(self):
        return vars(self).setdefault("_kept", [])

    def write(self, step, values):
        self.kept.append((step, values))


def _aux(**values):
    return kd.train.AuxiliariesState(
        metric_states={name: Constant(value) for name, value in values.items()}
    )


def _hand_over(writer, aux, step=0, **kwargs):
    return writer.write_step_metrics(
        step=step, aux=aux, schedules={}, log_summaries=False, **kwargs
    )


def test_values_are_computed_once_for_all_who_ask():
    writer = Keeping(collection="train")
    recorder = recorder_lib.Recorder([writer])
    one, other = _aux(x=np.float32(1)), _aux(x=np.float32(2))
    with recorder.active():
        written = _hand_over(writer, one)
        asked = recorder.values_of(one)
        assert recorder.values_of(other).values().metric_values == {"metrics/x": 2}
        assert written.metric_values == {"metrics/x": 1}
        assert asked.values().metric_values == {"metrics/x": 1}
        assert asked.numbers().metric_values == {"x": 1}
    recorder.close()
    [thread] = one.metric_states["x"].computed
    assert thread == "kauldron work beside the training"
    [(step, values)] = writer.kept
    assert (step, dict(values.scalars)) == (0, {"metrics/x": 1.0})


def test_numbers_of_one_element_are_scalars_whatever_axes_they_have():
    writer = Keeping()
    aux = kd.train.AuxiliariesState(
        loss_states={"a": Constant(np.float32(1))},
        metric_states={
            "b": Constant(np.full((1,), 2.0)),
            "c": Constant(np.full((1, 1), 3)),
            "d": Constant(np.bool_(1)),
            "e": Constant(np.arange(2)),
            "f": Constant(jax.numpy.full((1,), 3e38, jax.numpy.bfloat16)),
        },
    )
    _hand_over(writer, aux)
    [(_, values)] = writer.kept
    scalars = dict(values.scalars)
    in_bf16 = scalars.pop("metrics/f")
    assert scalars == {
        "losses/a": 1,
        "losses/total": 1,
        "metrics/b": 2,
        "metrics/c": 3,
        "metrics/d": 1,
    }
    assert in_bf16 == pytest.approx(3e38, rel=2**-8)
    assert list(values.arrays) == ["metrics/e"]


def test_writers_are_given_host_values_and_what_has_failed():
    broken = ZeroDivisionError("oops")
    writer = Keeping(collection="test")
    recorder = recorder_lib.Recorder([writer])
    with recorder.active():
        _hand_over(writer, _aux(x=jax.numpy.float32(2), y=broken))
    recorder.close()
    [(_, values)] = writer.kept
    assert values.failures == {"cfg.evals['test'].metrics['y']": broken}
    assert values.scalars == {"metrics/x": 2.0}
    assert type(values.scalars["metrics/x"]) is float


def test_a_copy_of_a_writer_of_a_run_belongs_to_the_run():
    writer = Keeping(collection="train")
    recorder = recorder_lib.Recorder([writer])
    aux = _aux(x=np.float32(1))
    with recorder.active():
        copy = writer.replace(collection="other")
        _hand_over(copy, aux)
    recorder.close()
    [thread] = aux.metric_states["x"].computed
    assert thread.startswith("kauldron")
    assert len(copy.kept) == 1
    # After the run it writes at once, as any other.
    _hand_over(writer, _aux(x=np.float32(1)))
    assert len(writer.kept) == 1
