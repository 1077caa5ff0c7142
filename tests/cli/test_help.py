"""`--help` of everything, and what is said about commands and flags that don't exist."""

from __future__ import annotations

import dataclasses
import pathlib
import re
import shlex
import subprocess
import sys

import pytest
from absl import flags

from kauldron import main as train_binary
from kauldron.cli import (
    PatchConfig,
    _flags,
    command_kinds,
    command_table,
    help_text,
)
from kauldron.cli import main as cli_main

ROOT = pathlib.Path(__file__).parents[2]
NAMES = list(command_table.COMMANDS)


@pytest.fixture
def kauldron(capfd):
    """Calls `kauldron ARGS`; returns exit code, stdout and stderr."""

    def call(*args: str) -> tuple[int, str, str]:
        code = cli_main.main(["kauldron", *args])
        return (code, *capfd.readouterr())

    return call


@pytest.mark.parametrize("flag", ["--help", "-h"])
@pytest.mark.parametrize("name", NAMES)
def test_help_of_a_command_lists_flags_with_type_and_default(kauldron, name, flag):
    code, out, err = kauldron(*name.split(), flag)
    assert code == 0 and err == ""
    assert f"Usage: kauldron {name}" in out
    assert f"Example: kauldron {name}" in out
    command = command_table.COMMANDS[name]
    for flag in (*command.flags, *command.shared_flags):
        (line,) = [
            ln for ln in out.splitlines() if ln.split()[:1] == [f"--{flag.name}"]
        ]
        words = line.split()
        assert words[1] == help_text.type_name(flag.kind)
        assert words[2] == help_text._default(flag).split()[0]
        assert flag.help in line


@pytest.mark.parametrize("name", NAMES)
def test_example_in_the_help_can_be_parsed(name):
    command = command_table.COMMANDS[name]
    words = shlex.split(command.example)
    if ">" in words:  # what it prints goes to a file
        words = words[: words.index(">")]
    num_words = 1 + len(name.split())
    assert words[:num_words] == ["kauldron", *name.split()]
    parsed = _flags.CommandLine(
        ["kauldron", *words[num_words:]], flags.FlagValues(), command
    )
    required = [word for word in command.positional if not word.startswith("[")]
    assert len(parsed.positional) >= len(required)


@pytest.mark.parametrize("args", [["--help"], ["-h"], ["help"], []])
def test_overview_lists_every_command(kauldron, args):
    code, out, err = kauldron(*args)
    assert code == 0 and err == ""
    listed = set()
    for line in re.sub(r",\n +", ", ", out).splitlines():
        if match := re.fullmatch(r"  kauldron (\S+) +(.*)", line):
            word, rest = match.groups()
            listed |= {word, *(f"{word} {verb}" for verb in rest.split(", "))}
    groups = set(command_table.GROUPS) - set(NAMES)
    assert set(NAMES) <= listed - groups


@pytest.mark.parametrize("args", [["run", "--help"], ["help", "run"], ["run", "-h"]])
def test_help_of_a_group_lists_its_commands(kauldron, args):
    code, out, _ = kauldron(*args)
    assert code == 0
    for verb in ("check", "eval_shape", "replay", "repro"):
        assert f"kauldron run {verb} " in out
    assert "kauldron ckpt" not in out


def test_help_word_and_help_flag_print_the_same(kauldron):
    assert kauldron("help", "ckpt", "ls") == kauldron("ckpt", "ls", "--help")
    assert kauldron("help", "train") == kauldron("train", "--cfg=x.py", "--help")


def test_training_binary_has_the_help_of_train(capfd):
    assert train_binary.main(["main.py", "--help"]) == 0
    assert "Usage: kauldron train" in capfd.readouterr().out


def test_help_behind_two_dashes_is_no_flag():
    assert not help_text.is_wanted(["--", "--help"])
    assert help_text.is_wanted(["--help", "--"])


@pytest.mark.parametrize("module", ["kauldron.cli.main", "kauldron.main"])
def test_help_imports_nothing_heavy(module):
    args = ["run", "check"] if module.endswith("cli.main") else []
    program = (
        f"import sys, runpy; sys.argv = ['kauldron', *{args}, '--help']\n"
        f"try: runpy.run_module({module!r}, run_name='__main__')\n"
        "except SystemExit as e: assert e.code == 0\n"
        "heavy = {'jax', 'flax', 'orbax', 'numpy', 'ml_collections', 'absl'}\n"
        "print(heavy & set(sys.modules))"
    )
    command = [sys.executable, "-c", program]
    out = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert out.stdout.splitlines()[-1] == "set()"


@pytest.mark.parametrize(
    ("args", "meant"),
    [
        (["trian"], "'train'"),
        (["run", "chek"], "'run check'"),
        (["ckpt", "list"], "'ckpt ls'"),
        (["confg", "show"], "'config show'"),
        (["help", "trian"], "'train'"),
        (["repro"], "'run repro'"),
    ],
)
def test_command_that_does_not_exist_names_the_nearest(kauldron, args, meant):
    code, out, err = kauldron(*args)
    assert code == 2 and out == ""
    assert f"Did you mean {meant}?" in err.splitlines()[0]


def test_group_without_a_verb_lists_its_verbs(kauldron):
    code, _, err = kauldron("ckpt")
    assert code == 2
    assert "needs a second word" in err and "kauldron ckpt verify" in err


def test_flag_before_the_command_is_told(kauldron):
    code, _, err = kauldron("--debug", "train")
    assert code == 2
    assert "'--debug' stands before the command" in err


def test_version(kauldron):
    import kauldron as package

    assert kauldron("--version")[:2] == (0, f"{package.__version__}\n")


@pytest.mark.parametrize(
    ("name", "arg", "hints"),
    [
        ("train", "--confg=a.py", ["Did you mean '--cfg'?"]),
        ("train", "--eval_name=a", ["Did you mean '--eval_names'?"]),
        ("train", "--seed=7", ["`--cfg.seed=7`"]),
        ("train", "--workdir=runs/a", ["`--cfg.workdir=runs/a`"]),
        ("train", "--optimizer.learning_rate=1", ["`--cfg.optimizer.learning_rate=1`"]),
        ("predict", "--key=a", ["Did you mean '--keys'?"]),
        ("ckpt show", "--path=params", ["Did you mean '--paths'?"]),
        ("ckpt ls", "--cfg=a.py", ["`kauldron ckpt ls --help` lists the flags"]),
    ],
)
def test_unknown_flag_names_what_was_meant(name, arg, hints):
    with pytest.raises(_flags.UsageError) as info:
        _flags.CommandLine(
            ["kauldron", arg], flags.FlagValues(), command_table.COMMANDS[name]
        )
    message = str(info.value)
    assert f"Unknown flag '{arg.partition('=')[0]}'" in message
    for hint in hints:
        assert hint in message
    if "cfg" not in "".join(hints) or "confg" in arg:
        assert "A field of the config" not in message


@pytest.mark.parametrize(
    ("name", "arg", "words"),
    [
        ("run replay", "--step=abc", "`--step` takes an int, got 'abc'"),
        ("train", "--eval_timeout=soon", "takes a float of at least 0, got 'soon'"),
        ("eval", "--write=maybe", "`--write` takes a bool, got 'maybe'"),
    ],
)
def test_value_that_a_flag_does_not_take(name, arg, words):
    with pytest.raises(_flags.UsageError) as info:
        _flags.CommandLine(
            ["kauldron", arg], flags.FlagValues(), command_table.COMMANDS[name]
        )
    assert words in str(info.value)


def test_patch_flags_are_the_fields_of_patch_config():
    fields = {f.name: f.default for f in dataclasses.fields(PatchConfig)}
    assert {f.name: f.default for f in command_kinds.PATCHES} == fields
