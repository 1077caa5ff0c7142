"""The contract of checkpointers."""

from __future__ import annotations

import pathlib
import tempfile
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from etils import epath

from kauldron import checkpoints
from kauldron.testing._requirements import copy_to_host, require, require_same_bits

_MakeCheckpointer = Callable[[epath.Path], checkpoints.BaseCheckpointer]


def check_checkpointer(make: _MakeCheckpointer) -> None:
    """Checks that a checkpointer keeps its contract, in temporary folders.

    It proves:

    - A new workdir has no steps, and reading creates nothing in it. What is not there
      raises `FileNotFoundError`, or is left as it is with `noop_if_missing`.
    - What is saved comes back bit for bit, dtypes included: given arrays or specs, the
      newest step or one by number, by the same object or by another one made later.
    - `maybe_save` saves at the steps that `should_save` names, and at no others unless
      forced.
    - Steps are listed in ascending order, and `latest_step` is the last of them.
    - A step that is protected stays, whatever else is removed.
    - `close` can be called twice.
    - One that says `saves = False` saves nothing, and restores what it is given.

    Args:
      make: Returns the checkpointer of a workdir, bound: `lambda workdir:
        MyCheckpointer(workdir=workdir, save_interval_steps=2)`.

    Raises:
      AssertionError: Says what does not hold.

    Example:

    ```python
    from kauldron import kd


    def make(workdir):
        return kd.ckpts.Checkpointer(workdir=workdir, save_interval_steps=2)


    def test_my_checkpointer_keeps_its_contract():
        kd.testing.check_checkpointer(make)


    test_my_checkpointer_keeps_its_contract()
    ```
    """
    if not _run(make, lambda workdir: make(workdir).saves):
        _run(make, lambda workdir: _check_that_nothing_is_saved(make(workdir)))
        return
    for check in (_check_new_workdir, _check_values, _check_when, _check_protection):
        _run(make, lambda workdir, check=check: check(make, workdir))


def _run(make: _MakeCheckpointer, check: Callable[[epath.Path], Any]) -> Any:
    del make
    with tempfile.TemporaryDirectory() as folder:
        return check(epath.Path(folder) / "run")


def _state(step: int) -> dict[str, Any]:
    return {
        "step": jnp.int32(step),
        "params": {
            "kernel": jnp.arange(6, dtype=jnp.float32).reshape(2, 3) / 7 + step,
            "bias": jnp.array([0.1, -2.0], jnp.bfloat16) * (step + 1),
        },
    }


def _specs() -> Any:
    return jax.eval_shape(lambda: _state(0))


def _save(checkpointer: checkpoints.BaseCheckpointer, step: int) -> None:
    is_saved = checkpointer.save(_state(step), step=step, force=True)
    require(is_saved, f"`save(step={step}, force=True)` returned {is_saved!r}.")
    checkpointer.wait_until_finished()


def _check_new_workdir(make: _MakeCheckpointer, workdir: epath.Path) -> None:
    checkpointer = make(workdir)
    require(
        checkpointer.latest_step is None and list(checkpointer.all_steps) == [],
        "A new workdir must have no steps: got "
        f"{checkpointer.latest_step}, {list(checkpointer.all_steps)}.",
    )
    given = _state(3)
    left = checkpointer.restore(given, noop_if_missing=True)
    require_same_bits(left, _state(3), "`noop_if_missing` changed what was given.")
    try:
        checkpointer.restore(_specs())
    except FileNotFoundError:
        pass
    else:
        raise AssertionError("Restoring from nothing must raise `FileNotFoundError`.")
    checkpointer.close()
    local = pathlib.Path(workdir)
    require(
        not local.exists() or not any(local.rglob("*")),
        f"Reading has created files: {sorted(map(str, local.rglob('*')))}.",
    )


def _check_values(make: _MakeCheckpointer, workdir: epath.Path) -> None:
    checkpointer = make(workdir)
    for step in (1, 2, 10):
        _save(checkpointer, step)
    later = make(workdir)
    for reader, who in ((checkpointer, "the same object"), (later, "a later one")):
        found = list(reader.all_steps)
        require(
            found == sorted(found) and found[-1:] == [10] and reader.latest_step == 10,
            f"After saving 1, 2 and 10, {who} lists {found}, and the latest is "
            f"{reader.latest_step}: they must be ascending, the newest last.",
        )
        for step in found:
            restored = reader.restore(_specs(), step=step)
            require_same_bits(restored, _state(step), f"Step {step}, read by {who}:")
        newest = reader.restore(_state(0))
        require_same_bits(newest, _state(10), f"The newest step, read by {who}:")
        try:
            reader.restore(_specs(), step=7)
        except FileNotFoundError:
            pass
        else:
            raise AssertionError("A step that is not there was restored.")
        reader.close()
        reader.close()


def _check_when(make: _MakeCheckpointer, workdir: epath.Path) -> None:
    checkpointer = make(workdir)
    steps = range(6)
    due = [step for step in steps if checkpointer.should_save(step)]
    saved = [s for s in steps if checkpointer.maybe_save(_state(s), step=s)]
    checkpointer.wait_until_finished()
    require(
        saved == due,
        f"`maybe_save` saved the steps {saved}; `should_save` names {due}.",
    )
    stray = set(checkpointer.all_steps) - set(due)
    require(not stray, f"Steps {sorted(stray)} are there, which were not to be saved.")
    require(
        checkpointer.maybe_save(_state(11), step=11, force=True),
        "`maybe_save(force=True)` did not save.",
    )
    checkpointer.close()
    require(11 in make(workdir).all_steps, "A forced save is not there after `close`.")


def _check_protection(make: _MakeCheckpointer, workdir: epath.Path) -> None:
    checkpointer = make(workdir)
    _save(checkpointer, 1)
    checkpointer.protect(1, owner="contract")
    for step in range(2, 9):
        _save(checkpointer, step)
    checkpointer.close()
    found = list(make(workdir).all_steps)
    require(1 in found, f"Step 1 was protected, and is gone: there are {found}.")
    restored = make(workdir).restore(_specs(), step=1)
    require_same_bits(restored, _state(1), "The protected step:")


def _check_that_nothing_is_saved(checkpointer: checkpoints.BaseCheckpointer) -> None:
    given = _state(3)
    expected = copy_to_host(given)
    require(
        not any(checkpointer.should_save(step) for step in range(100)),
        "It says `saves = False`, and `should_save` says otherwise.",
    )
    require(
        not checkpointer.maybe_save(given, step=0),
        "It says `saves = False`, and `maybe_save` says that it has saved.",
    )
    require(
        checkpointer.latest_step is None and not list(checkpointer.all_steps),
        "It says `saves = False`, and lists steps.",
    )
    restored = checkpointer.restore(given)
    require_same_bits(restored, expected, "It must restore what it is given.")
    checkpointer.close()
