"""What is said to those who do not know the names yet, and what they may write."""

from __future__ import annotations

import pathlib
import shlex
import subprocess
import sys
from collections.abc import Callable

import pytest

from kauldron import konfig

with konfig.imports():
    import konfig_targets as targets

    from tests.konfig import test_newcomers as here

Schedule = Callable[[int], float]


def train(
    *,
    learning_rate: float | Schedule = 1e-3,
    weight_decay: float = 0.0,
    batch_size: int = 8,
    optimizer: Schedule | None = None,
    num_train_steps: int = 10,
    name: str = "a",
    is_verbose: bool = False,
    schedule: Schedule | None = None,
):
    return locals()


def apply(cfg, *flags):
    konfig.apply_overrides(cfg, konfig.parse_overrides(flags))
    return cfg


@pytest.mark.parametrize(
    ("short", "name"),
    [
        ("lr", "learning_rate"),
        ("lrate", "learning_rate"),
        ("wd", "weight_decay"),
        ("bs", "batch_size"),
        ("BS", "batch_size"),
        ("opt", "optimizer"),
        ("nts", "num_train_steps"),
        ("num_t_steps", "num_train_steps"),
        ("learning_rte", "learning_rate"),
    ],
)
def test_short_name_of_an_argument_is_understood(short, name):
    expected = rf"has no argument '{short}'\. Did you mean '{name}'\?"
    with pytest.raises(TypeError, match=expected):
        apply(here.train(), f"--cfg.{short}=1")
    cfg = here.train()
    cfg[short] = 1
    (problem,) = konfig.check(cfg)
    assert f"Did you mean '{name}'?" in problem.message


@pytest.mark.parametrize("short", ["l", "rl", "lrx", "ls", "zz"])
def test_what_abbreviates_nothing_gets_no_hint(short):
    with pytest.raises(TypeError) as info:
        apply(here.train(), f"--cfg.{short}=1")
    assert "Did you mean" not in str(info.value)


def test_short_name_of_a_field_is_understood():
    cfg = konfig.ConfigDict({"hyper": {"learning_rate": {"init": 1.0}, "b1": 0.9}})
    with pytest.raises(KeyError, match="Did you mean 'learning_rate'"):
        apply(cfg, "--cfg.hyper.lr.init=2")
    with pytest.raises(AttributeError, match="Did you mean 'learning_rate'"):
        _ = cfg.hyper.lr


@pytest.mark.parametrize(
    ("text", "value"), [("0.1", 0.1), ("1", 1.0), ("1e-3", 1e-3), ("None", None)]
)
def test_number_takes_the_place_of_a_schedule_where_both_are_declared(text, value):
    cfg = here.train(learning_rate=targets.cosine(1e-3, 100))
    apply(cfg, f"--cfg.learning_rate={text}")
    assert cfg.learning_rate == value and type(cfg.learning_rate) is type(value)


def test_number_takes_the_place_of_a_schedule_of_optax():
    with konfig.imports():
        import optax
    cfg = optax.adam(learning_rate=optax.constant_schedule(1.0))
    assert apply(cfg, "--cfg.learning_rate=0.1").learning_rate == 0.1


@pytest.mark.parametrize(
    "flag",
    [
        "learning_rate=fast",  # text is neither a number nor a schedule
        "learning_rate=[1]",
        "schedule=0.1",  # no number is declared
    ],
)
def test_what_is_not_declared_takes_no_place_of_a_call(flag):
    cfg = here.train(
        learning_rate=targets.cosine(1e-3, 100), schedule=targets.cosine(1, 1)
    )
    with pytest.raises(TypeError, match="expected a call, such as"):
        apply(cfg, f"--cfg.{flag}")


@pytest.mark.parametrize(
    ("name", "expected"), [("num_train_steps", "int"), ("weight_decay", "float")]
)
def test_flag_without_a_value_says_that_one_is_missing(name, expected):
    cfg = here.train(num_train_steps=3, weight_decay=0.5)
    with pytest.raises(TypeError) as info:
        apply(cfg, f"--cfg.{name}")
    assert str(info.value) == (
        f"--cfg.{name}: a value is missing, expected {expected}: write "
        f"`--cfg.{name}=VALUE`."
    )


def test_flag_without_a_value_for_text_says_that_one_is_missing():
    with pytest.raises(
        TypeError, match=r"a value is missing: write `--cfg.name=VALUE`"
    ):
        apply(here.train(name="a"), "--cfg.name")


def test_flag_without_a_value_for_an_argument_that_is_not_set():
    with pytest.raises(TypeError, match="a value is missing, expected int"):
        apply(here.train(), "--cfg.num_train_steps")
    assert apply(here.train(), "--cfg.is_verbose").is_verbose is True


@pytest.fixture
def damaged(tmp_path):
    """A workdir whose `config.json` ends in the middle, and the text it had."""
    cfg = konfig.ConfigDict({"seed": 1, "it's": {"width": 3}})
    text = cfg.to_json(indent=2)
    workdir = tmp_path / "my run"
    workdir.mkdir()
    (workdir / "config.json").write_text(text[: len(text) // 2])
    (workdir / "config.py").write_text(konfig.to_python(cfg))
    return workdir, text


def test_damaged_config_of_a_run_is_written_anew_as_the_message_says(damaged):
    workdir, text = damaged
    with pytest.raises(konfig.ConfigFileError, match="is damaged; the same") as info:
        konfig.load(workdir)
    command = shlex.split(str(info.value).splitlines()[-1])
    assert command[0] == "python"
    root = pathlib.Path(konfig.__file__).parents[2]
    subprocess.run([sys.executable, *command[1:]], check=True, cwd=root)
    assert (workdir / "config.json").read_text() == text


def test_damaged_config_without_another_says_what_writes_one(damaged):
    workdir, _ = damaged
    (workdir / "config.py").unlink()
    for use in (konfig.load, konfig.load_config_file, lambda p: konfig.diff(p, {})):
        with pytest.raises(konfig.ConfigFileError) as info:
            use(workdir)
        assert "put a copy of it there" in str(info.value)
        assert f"kauldron train --cfg=FILE --cfg.workdir={workdir}" in str(info.value)
