"""Configs that work: they resolve, their keys fit, they train, and to the same numbers."""

from __future__ import annotations

import contextlib
import copy
import json
import math
import pathlib
import tempfile
from collections.abc import Iterator, Mapping
from typing import Any

from kauldron import konfig
from kauldron.testing import small_runs
from kauldron.testing._requirements import require


def check_config(
    cfg: konfig.ConfigDict | str | pathlib.Path,
    *,
    num_steps: int = 2,
    mock_data: bool = False,
) -> None:
    """Checks that a config works, in seconds: resolves, is checked, trains, is evaluated.

    Batches are as small as the devices allow, each evaluator sees one, nothing is saved,
    and the workdir is a temporary one.

    Args:
      cfg: A config, or the path of a config file with `get_config()`.
      num_steps: How many updates.
      mock_data: Whether datasets of TFDS are random examples of their specs, so that
        nothing is downloaded.

    Raises:
      Exception: Whatever is wrong with it.
      AssertionError: If the loss is not finite.

    Example:

    ```python
    import pathlib

    import pytest
    from kauldron import kd

    pathlib.Path("configs").mkdir()
    pathlib.Path("configs/digits.py").write_text(
        "from examples import digits_classifier\\n"
        "def get_config():\\n    return digits_classifier.get_config()\\n"
    )
    CONFIGS = kd.testing.configs_in("configs")


    @pytest.mark.parametrize("path", CONFIGS, ids=str)
    def test_config_works(path):
        kd.testing.check_config(path)


    test_config_works(CONFIGS[0])
    ```
    """
    patch = small_runs.PatchConfig(stop_after_steps=num_steps)
    with tempfile.TemporaryDirectory(prefix="kauldron_") as folder, _data(mock_data):
        patched, _ = patch(_loaded(cfg))
        with patched.ignore_type():
            patched.workdir = folder
        trainer = konfig.resolve(patched)
        trainer.check()
        state, aux = trainer.train()
        require(int(state.step) == num_steps, f"It stopped at step {int(state.step)}.")
        loss = float(aux.compute().loss_values["losses/total"]) if aux else 0.0
        require(math.isfinite(loss), f"After {num_steps} steps the loss is {loss}.")


def configs_in(folder: str | pathlib.Path) -> list[pathlib.Path]:
    """Returns the config files of a folder and of those in it, by name.

    A config file is a `.py` file that defines `get_config`.

    Raises:
      AssertionError: If there is none: a test over no configs would prove nothing.
    """
    found = [
        path
        for path in sorted(pathlib.Path(folder).rglob("*.py"))
        if "def get_config(" in path.read_text("utf-8")
    ]
    require(found, f"There is no config file in {str(folder)!r}.")
    return found


def check_golden(
    cfg: konfig.ConfigDict | str | pathlib.Path,
    golden: str | pathlib.Path,
    *,
    rtol: float = 1e-3,
    update: bool = False,
) -> None:
    """Checks that a run still gives the numbers that were noted once.

    Args:
      cfg: A config as it is to be run, or the path of a config file. Its workdir is a
        temporary one.
      golden: JSON file of the last values of each collection; made if `update`.
      rtol: How far numbers may be from those noted, relatively.
      update: Notes the numbers of now. Look at the file before you commit it.

    Raises:
      AssertionError: Names each number that is another, with both values; or the file
        is missing.
    """
    path = pathlib.Path(golden)
    with tempfile.TemporaryDirectory(prefix="kauldron_") as folder:
        config = copy.deepcopy(_loaded(cfg))
        with config.ignore_type():
            config.workdir = folder
        konfig.resolve(config).train()
        found = _last_values(pathlib.Path(folder) / "metrics.jsonl")
    if update:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(found, indent=2, sort_keys=True) + "\n", "utf-8")
        return
    require(
        path.exists(),
        f"{str(path)!r} is missing: run once with `update=True` to note it.",
    )
    expected = json.loads(path.read_text("utf-8"))
    wrong = [
        f"{name}: {found.get(name)}, was {expected.get(name)}"
        for name in sorted({*found, *expected})
        if not _is_close(found.get(name), expected.get(name), rtol)
    ]
    require(not wrong, f"Other numbers than in {str(path)!r}: {'; '.join(wrong)}.")


def _loaded(cfg: Any) -> konfig.ConfigDict:
    if isinstance(cfg, str | pathlib.Path):
        return konfig.load_config_file(str(cfg))
    return cfg


@contextlib.contextmanager
def _data(mock: bool) -> Iterator[None]:
    if not mock:
        yield
        return
    import tensorflow_datasets as tfds

    with tfds.testing.mock_data(num_examples=64):
        yield


def _last_values(file: pathlib.Path) -> dict[str, float]:
    values: dict[str, float] = {}
    for line in file.read_text("utf-8").splitlines():
        record = json.loads(line)
        for name, value in _numbers(record):
            values[f"{record['collection']}/{name}"] = value
    return values


def _numbers(record: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    for name, value in record.items():
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if is_number and name != "step":
            yield name, float(value)


def _is_close(a: float | None, b: float | None, rtol: float) -> bool:
    if a is None or b is None:
        return False
    return math.isclose(a, b, rel_tol=rtol, abs_tol=1e-12) or (
        math.isnan(a) and math.isnan(b)
    )
