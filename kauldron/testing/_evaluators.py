"""The contract of evaluators."""

from __future__ import annotations

import json
import pathlib
import tempfile
from collections.abc import Callable

import jax

from kauldron import recording
from kauldron.evals import base
from kauldron.sharding import TrainState
from kauldron.step import auxiliaries
from kauldron.testing._requirements import copy_to_host, require, require_same_bits

_NAME = "checked"


def check_evaluator(make: Callable[[], base.EvaluatorBase], trainer: base.Run) -> None:
    """Checks that an evaluator keeps its contract in a run.

    It proves:

    - It finds nothing wrong with the run before anything is compiled (`check`), and
      returns a list.
    - An evaluation leaves the state as it was: the training continues with it.
    - A second evaluation of the same state measures the same, bit for bit.
    - Results are written for the step that was asked for, to collections whose names
      begin with that of the evaluator.
    - What `measures` announces is measured.
    - `maybe_eval` evaluates when the strategy says so.

    Args:
      make: Returns the evaluator, not bound to a trainer.
      trainer: A `kd.train.Trainer` that it is to be part of. Its initial state is
        evaluated; it is not trained, and its other evaluators are left out.

    Raises:
      AssertionError: Says what does not hold.

    Example:

    ```python
    from examples import digits_classifier
    from kauldron import kd, konfig


    def small_trainer():
        cfg = digits_classifier.get_config()
        cfg.num_train_steps = 3
        return konfig.resolve(cfg)


    def test_my_evaluator_keeps_its_contract():
        make = lambda: kd.evals.Evaluator(run=kd.evals.EveryNSteps(10))
        kd.testing.check_evaluator(make, small_trainer())


    test_my_evaluator_keeps_its_contract()
    ```
    """
    with tempfile.TemporaryDirectory() as folder:
        workdir = pathlib.Path(folder)
        bound = trainer.replace(
            workdir=folder, writer=recording.KDMetricWriter(), evals={_NAME: make()}
        )
        evaluator = bound.evals[_NAME]
        try:
            _check_check(evaluator, bound)
            state = bound.init_state()
            aux = _check_evaluations(evaluator, state)
            evaluator.writer.flush()
            _check_written(workdir, step=7)
            _check_measured(evaluator, aux)
            _check_strategy(evaluator, state, workdir)
        finally:
            evaluator.writer.close()


def _check_check(evaluator: base.EvaluatorBase, run: base.Run) -> None:
    problems = evaluator.check(run, run.state_specs, field=f"cfg.evals[{_NAME!r}]")
    require(
        isinstance(problems, list),
        f"`check` must return a list: got {type(problems).__name__}.",
    )
    listed = "\n".join(map(str, problems))
    require(not problems, f"`check` finds something wrong with the run:\n{listed}")


def _check_evaluations(
    evaluator: base.EvaluatorBase, state: TrainState
) -> auxiliaries.AuxiliariesState | None:
    before = copy_to_host(state)
    first = evaluator.evaluate(state, 7)
    require(
        first is None or isinstance(first, auxiliaries.AuxiliariesState),
        "`evaluate` must return an `AuxiliariesState`, or None: got "
        f"{type(first).__name__}.",
    )
    measured = copy_to_host(jax.tree.leaves(first))
    used_up = [x for x in jax.tree.leaves(state) if getattr(x, "is_deleted", bool)()]
    require(not used_up, "The evaluation has used up arrays of the state.")
    require_same_bits(state, before, "The evaluation has changed the state.")
    again = evaluator.evaluate(state, 7)
    require_same_bits(
        jax.tree.leaves(again),
        measured,
        "A second evaluation of the same state measures something else.",
    )
    return first


def _check_written(workdir: pathlib.Path, *, step: int) -> None:
    file = workdir / "metrics.jsonl"
    lines = file.read_text().splitlines() if file.exists() else []
    records = [json.loads(line) for line in lines]
    require(records, "The evaluation has written nothing.")
    for record in records:
        require(
            record["collection"].startswith(_NAME),
            f"Results were written to {record['collection']!r}: the names of collections "
            f"begin with that of the evaluator, {_NAME!r}.",
        )
        require(
            record["step"] == step,
            f"Results were written for step {record['step']} instead of {step}.",
        )


def _check_measured(
    evaluator: base.EvaluatorBase, aux: auxiliaries.AuxiliariesState | None
) -> None:
    announced = evaluator.measures()
    if announced is None:
        return
    require(aux is not None, f"`measures` announces {announced}; nothing was measured.")
    assert aux is not None
    values = aux.compute(flatten=False)
    found = {*values.loss_values, *values.metric_values}
    missing = sorted(set(announced) - found)
    require(
        not missing,
        f"`measures` announces {missing}, which were not measured: there are "
        f"{sorted(found)}.",
    )


def _check_strategy(
    evaluator: base.EvaluatorBase, state: TrainState, workdir: pathlib.Path
) -> None:
    file = workdir / "metrics.jsonl"
    for step, is_last in ((8, False), (9, False), (10, True)):
        before = file.read_text()
        evaluator.maybe_eval(step=step, state=state, is_last=is_last)
        evaluator.writer.flush()
        is_due = evaluator.run.should_eval_in_train(step, is_last=is_last)
        require(
            (file.read_text() != before) == is_due,
            f"`maybe_eval` at step {step} must {'' if is_due else 'not '}evaluate: its "
            f"strategy is {evaluator.run!r}.",
        )
