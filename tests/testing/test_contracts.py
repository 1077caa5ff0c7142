"""The contracts of kinds: ours keep them, and what breaks one is found."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kauldron import kd
from tests.train import small_run


@pytest.fixture
def trainer(tmp_path):
    return small_run.make_trainer(tmp_path, num_train_steps=3)


# Evaluators.


def _evaluator(**changes):
    return kd.evals.Evaluator(run=kd.evals.EveryNSteps(2), **changes)


def _few_shot(label_name="label"):
    return kd.evals.FewShotEvaluator(
        run=kd.evals.Final(),
        ds_train=small_run.make_ds(training=False),
        ds_val=small_run.make_ds(training=False),
        ds_test=small_run.make_ds(training=False),
        metric_prefix="points",
        num_classes=2,
        num_shots=[2],
        repr_names={"pre_logits": "preds.logits"},
        label_name=label_name,
    )


@pytest.mark.parametrize("make", [_evaluator, _few_shot])
def test_evaluators_keep_their_contract(trainer, make):
    kd.testing.check_evaluator(make, trainer)


class _Base(kd.evals.EvaluatorBase):
    def evaluate(self, state, step):
        self.writer.write_scalars(step, {"x": 1.0})


class _FindsSomething(_Base):
    def check(self, run, state, *, field):
        return [kd.kontext.KeyProblem(f"{field}.x", "a.b", "missing", detail="no.")]


class _WritesNothing(_Base):
    def evaluate(self, state, step):
        pass


class _WritesElsewhere(_Base):
    def evaluate(self, state, step):
        writer = self.writer.replace(collection="other")
        writer.write_scalars(step, {"x": 1.0})
        writer.close()


class _WritesAnotherStep(_Base):
    def evaluate(self, state, step):
        self.writer.write_scalars(step + 1, {"x": 1.0})


class _UsesTheStateUp(_Base):
    def evaluate(self, state, step):
        super().evaluate(state, step)
        jax.tree.map(lambda x: x.delete(), state.params)


class _Announces(_Base):
    def measures(self):
        return ["never"]


class _Differs(_Base):
    num_calls: list = dataclasses.field(default_factory=list)

    def evaluate(self, state, step):
        super().evaluate(state, step)
        self.num_calls.append(1)
        value = kd.metrics.AverageState.from_values(jnp.float32(len(self.num_calls)))
        return kd.train.AuxiliariesState(metric_states={"x": value})


class _IgnoresItsStrategy(_Base):
    def maybe_eval(self, *, step, state, is_last=False):
        return self.evaluate(state, step)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (_FindsSomething, "finds something wrong"),
        (_WritesNothing, "has written nothing"),
        (_WritesElsewhere, "'other'"),
        (_WritesAnotherStep, "step 8 instead of 7"),
        (_UsesTheStateUp, "used up"),
        (_Announces, "nothing was measured"),
        (_Differs, "measures something else"),
        (_IgnoresItsStrategy, "must not evaluate"),
    ],
)
def test_an_evaluator_that_breaks_its_contract_is_found(trainer, wrong, message):
    with pytest.raises(AssertionError, match=message):
        kd.testing.check_evaluator(lambda: wrong(run=kd.evals.EveryNSteps(2)), trainer)


# Checkpointers.


def _checkpointer(workdir, **changes):
    return kd.ckpts.Checkpointer(workdir=workdir, save_interval_steps=2, **changes)


@pytest.mark.parametrize(
    "make",
    [
        _checkpointer,
        lambda workdir: _checkpointer(workdir, max_to_keep=1),
        lambda workdir: kd.ckpts.NoopCheckpointer(),
    ],
    ids=["plain", "keeps one", "noop"],
)
def test_checkpointers_keep_their_contract(make):
    kd.testing.check_checkpointer(make)


class _Rounds(kd.ckpts.Checkpointer):
    def save(self, state, **kwargs):
        rounded = jax.tree.map(lambda x: x.astype(jnp.bfloat16).astype(x.dtype), state)
        return super().save(rounded, **kwargs)


class _CreatesAtOnce(kd.ckpts.Checkpointer):
    @property
    def all_steps(self):
        (self.workdir / "checkpoints").mkdir(parents=True, exist_ok=True)
        return super().all_steps


class _SavesAlways(kd.ckpts.Checkpointer):
    def maybe_save(self, state, *, step, force=False, metrics=None):
        return self.save(state, step=step, force=True)


class _ForgetsWhatIsProtected(kd.ckpts.Checkpointer):
    def protect(self, step, *, owner):
        pass


class _Unsorted(kd.ckpts.Checkpointer):
    @property
    def all_steps(self):
        return super().all_steps[::-1]


class _SaysThatItSavesNothing(kd.ckpts.Checkpointer):
    saves = False


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (_Rounds, "Step .*'params.kernel'"),
        (_CreatesAtOnce, "Reading has created"),
        (_SavesAlways, "`maybe_save` saved the steps"),
        (_ForgetsWhatIsProtected, "Step 1 was protected"),
        (_Unsorted, "must be ascending"),
        (_SaysThatItSavesNothing, "`should_save` says otherwise"),
    ],
)
def test_a_checkpointer_that_breaks_its_contract_is_found(wrong, message):
    def make(workdir):
        return wrong(workdir=workdir, save_interval_steps=2, max_to_keep=3)

    with pytest.raises(AssertionError, match=message):
        kd.testing.check_checkpointer(make)


# Hooks.


class _Saves(kd.train.Hook):
    def after_step(self, run, *, step, state, aux):
        run.save()


class _Stops(kd.train.Hook):
    def after_step(self, run, *, step, state, aux):
        run.stop("enough")


@pytest.mark.parametrize(
    "make",
    [
        kd.train.Hook,
        _Saves,
        _Stops,
        lambda: kd.train.EarlyStopping(metric="test.total", patience=1, mode="min"),
    ],
)
def test_hooks_keep_their_contract(trainer, make):
    trainer = trainer.replace(
        checkpointer=kd.ckpts.Checkpointer(save_interval_steps=2),
        evals={"test": kd.evals.Evaluator(run=kd.evals.EveryNSteps(1))},
    )
    kd.testing.check_hook(make, trainer)


class _Counts(kd.train.Hook):
    def __init__(self):
        self.num_steps = 0

    def after_step(self, run, *, step, state, aux):
        self.num_steps += 1
        if self.num_steps == 5:
            run.stop("five steps")


class _HalfAState(kd.train.Hook):
    def get_state(self):
        return {}


class _ArrayState(kd.train.Hook):
    def get_state(self):
        return {"x": np.ones(2)}

    def set_state(self, state):
        pass


class _LosesItsState(_Counts):
    def reset(self):
        self.num_steps = 0

    def get_state(self):
        return {"num_steps": self.num_steps}

    def set_state(self, state):
        pass


class _Keeps(_Counts):
    def get_state(self):
        return {"num_steps": self.num_steps}

    def set_state(self, state):
        self.num_steps = state["num_steps"]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (_Counts, "does `reset` forget"),
        (_HalfAState, "both of"),
        (_ArrayState, "not JSON"),
        (_LosesItsState, "was given the state"),
        (_Keeps, "`reset` does not forget"),
        (object, "derives from"),
    ],
)
def test_a_hook_that_breaks_its_contract_is_found(trainer, wrong, message):
    with pytest.raises(AssertionError, match=message):
        kd.testing.check_hook(wrong, trainer)


# Init transforms.


class _Doubles(kd.ckpts.InitTransform):
    def transform(self, state):
        params = jax.tree.map(lambda x: 2 * x, state.params)
        return dataclasses.replace(state, params=params)


def test_init_transforms_keep_their_contract(trainer):
    kd.testing.check_init_transform(kd.ckpts.NoopTransform, trainer)
    kd.testing.check_init_transform(
        lambda: kd.ckpts.MultiTransform(a=_Doubles(), b=_Doubles()), trainer
    )


def test_a_loader_of_another_run_keeps_the_contract(trainer, tmp_path):
    source = tmp_path / "source"
    checkpointer = kd.ckpts.Checkpointer(save_interval_steps=2)
    trainer.replace(workdir=source, checkpointer=checkpointer).train()
    kd.testing.check_init_transform(
        lambda: kd.ckpts.PartialKauldronLoader(
            workdir=source, new_to_old={"params": "params"}
        ),
        trainer,
    )


class _Casts(kd.ckpts.InitTransform):
    def transform(self, state):
        params = jax.tree.map(lambda x: x.astype(jnp.bfloat16), state.params)
        return dataclasses.replace(state, params=params)


class _DropsTheOptimizer(kd.ckpts.InitTransform):
    def transform(self, state):
        return state

    def transform_after_optimizer(self, state):
        return dataclasses.replace(state, opt_state=None)


class _Draws(kd.ckpts.InitTransform):
    rng = np.random.default_rng(0)

    def transform(self, state):
        noise = float(self.rng.normal())
        params = jax.tree.map(lambda x: x + noise, state.params)
        return dataclasses.replace(state, params=params)


class _ReturnsParams(kd.ckpts.InitTransform):
    def transform(self, state):
        return state.params


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (_Casts, "`transform` changed"),
        (_DropsTheOptimizer, "`transform_after_optimizer` changed"),
        (_Draws, "second start"),
        (_ReturnsParams, "must return a `TrainState`"),
    ],
)
def test_an_init_transform_that_breaks_its_contract_is_found(trainer, wrong, message):
    with pytest.raises(AssertionError, match=message):
        kd.testing.check_init_transform(wrong, trainer)


# Sources and pipelines.


class _Texts:
    def __len__(self):
        return 3

    def __getitem__(self, index):
        return {"text": "abc"[: index + 1], "n": np.int64([3, 1, 2][index])}


@pytest.mark.parametrize("make", [small_run.Points, _Texts])
def test_sources_keep_their_contract(make):
    kd.testing.check_source(make)


class _Remembers(small_run.Points):
    num_reads = 0

    def __getitem__(self, index):
        self.num_reads += 1
        return {"x": np.int64(self.num_reads)}


class _ChangesDtype(small_run.Points):
    def __getitem__(self, index):
        return {"x": np.zeros(2, np.float32 if index else np.float64)}


class _NeverEnds(small_run.Points):
    def __getitem__(self, index):
        return super().__getitem__(index % len(self))


class _Empty(small_run.Points):
    def __len__(self):
        return 0


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (_Remembers, "differs when it is read again"),
        (_ChangesDtype, "Example .* has .*float32"),
        (_NeverEnds, "must raise `IndexError`"),
        (_Empty, ">= 1"),
    ],
)
def test_a_source_that_breaks_its_contract_is_found(wrong, message):
    with pytest.raises(AssertionError, match=message):
        kd.testing.check_source(wrong)


@pytest.mark.parametrize(
    "ds",
    [
        small_run.make_ds(seed=1),
        small_run.make_ds(training=False, seed=1, batch_drop_remainder=False),
        small_run.make_ds(seed=1).take(3).map(lambda b: {"y": b["x"] + 1}),
        small_run.make_ds(training=False, seed=1).cache(),
    ],
    ids=["endless", "smaller last batch", "mapped", "cached"],
)
def test_pipelines_keep_their_contract(ds):
    kd.testing.check_pipeline(lambda: ds)


class _Pipeline(kd.data.Pipeline):
    """Batches `[number of the batch]`."""

    def __iter__(self):
        return self.kind(self)

    @property
    def element_spec(self):
        return {"x": jax.ShapeDtypeStruct((1,), "int64")}


class _Iterator(kd.data.iters.Iterator):
    def __init__(self, source):
        super().__init__(source)
        self.number = 0

    def __next__(self):
        if self.number == 4:
            raise StopIteration
        self.number += 1
        return {"x": np.array([self.number])}

    def get_state(self):
        return {"number": self.number}

    def set_state(self, state):
        self.number = state["number"]


class _OneBehind(_Iterator):
    def set_state(self, state):
        self.number = max(state["number"] - 1, 0)


class _BeginsAgain(_Iterator):
    def __next__(self):
        try:
            return super().__next__()
        except StopIteration:
            self.number = 0
            raise


class _Grows(_Iterator):
    def __next__(self):
        return {"x": np.repeat(super().__next__()["x"], self.number)}


class _KeepsObjects(_Iterator):
    def get_state(self):
        return {"number": np.int64(self.number)}


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (_Iterator, None),
        (_OneBehind, "Going on after 1 batches differs"),
        (_BeginsAgain, "another batch after `StopIteration`"),
        (_Grows, r"Batch 1 has int64\[2\]"),
        (_KeepsObjects, "must be JSON"),
    ],
)
def test_a_pipeline_that_breaks_its_contract_is_found(kind, message):
    ds = type("Own", (_Pipeline,), {"kind": kind})(seed=0)
    if message is None:
        kd.testing.check_pipeline(lambda: ds)
    else:
        with pytest.raises(AssertionError, match=message):
            kd.testing.check_pipeline(lambda: ds)
