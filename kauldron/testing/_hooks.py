"""The contract of hooks."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from typing import Any

import jax

from kauldron.evals import base
from kauldron.testing._requirements import copy_to_host, require, require_same_bits
from kauldron.train import hooks as hooks_lib

_STATE_METHODS = ("get_state", "set_state")


def check_hook(make: Callable[[], hooks_lib.Hook], trainer: base.Run) -> None:
    """Checks that a hook keeps its contract along a small run.

    It proves:

    - The run that it is part of ends, and with the same parameters, bit for bit, as a
      run without it of as many steps: a hook looks on, saves, or stops.
    - The same object can go along a second run, and `reset` makes it forget the first.
    - It has both of `get_state` and `set_state`, or neither. The state is JSON, and a
      hook that was given it gives the same one.

    Args:
      make: Returns the hook.
      trainer: A `kd.train.Trainer` of a few steps. It is run in temporary workdirs,
        without its own hooks.

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


    class PrintLosses(kd.train.Hook):
        def on_log(self, run, *, step, values):
            print(step, values.loss_values)


    def test_my_hook_keeps_its_contract():
        kd.testing.check_hook(PrintLosses, small_trainer())


    test_my_hook_keeps_its_contract()
    ```
    """
    hook = make()
    require(
        isinstance(hook, hooks_lib.Hook),
        f"A hook derives from `kd.train.Hook`: got {type(hook).__name__}.",
    )
    _check_state(make, hook, "a new one")
    step, params = _run(trainer, {"checked": hook})
    _check_state(make, hook, "one that went along a run")
    _, without = _run(trainer, {}, stop_after_steps=step)
    require_same_bits(params, without, "The hook changed the parameters of the run.")
    step_again, again = _run(trainer, {"checked": hook})
    require(
        step_again == step,
        f"A second run with the same object ended at step {step_again}, the first at "
        f"{step}: does `reset` forget?",
    )
    require_same_bits(again, params, "A second run with the same object differs.")


def _run(
    trainer: base.Run, hooks: dict[str, hooks_lib.Hook], **changes: Any
) -> tuple[int, Any]:
    with tempfile.TemporaryDirectory() as workdir:
        state, _ = trainer.replace(workdir=workdir, hooks=hooks, **changes).train()
        return int(state.step), copy_to_host(jax.device_get(state.params))


def _check_state(
    make: Callable[[], hooks_lib.Hook], hook: hooks_lib.Hook, what: str
) -> None:
    has = [name for name in _STATE_METHODS if hasattr(hook, name)]
    if not has:
        return
    require(
        len(has) == 2, f"A hook has both of {_STATE_METHODS}, or neither: only {has}."
    )
    state = _state_of(hook)
    try:
        text = json.dumps(state)
    except TypeError as e:
        raise AssertionError(f"The state of {what} is not JSON: {e}.") from e
    other: Any = make()
    other.set_state(json.loads(text))
    require(
        json.dumps(_state_of(other)) == text,
        f"A hook that was given the state {text} of {what} gives {_state_of(other)}.",
    )
    other.reset()
    require(
        _state_of(other) == _state_of(make()),
        f"`reset` does not forget: the state is {_state_of(other)}, that of a new hook "
        f"{_state_of(make())}.",
    )


def _state_of(hook: Any) -> Any:
    return hook.get_state()
