"""What the Tab key adds, asked of the shells themselves."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from kauldron.cli import command_table, completion


def _in_bash(*words: str) -> list[str]:
    script = completion.bash(command_table.COMMANDS)
    quoted = " ".join(f"'{word}'" for word in ("kauldron", *words))
    program = (
        f"{script}\nCOMP_WORDS=({quoted}); COMP_CWORD={len(words)}; _kauldron; "
        'printf "%s\\n" "${COMPREPLY[@]}"'
    )
    result = subprocess.run(
        ["bash", "--norc", "-c", program], capture_output=True, text=True, check=True
    )
    return result.stdout.split()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["tra"], ["train"]),
        (["run", "expl"], ["explain_key"]),
        (["ckpt", ""], ["ls", "show", "diff", "verify", "export"]),
        (["run", "params", "--dep"], ["--depth="]),
        (["predict", "--key"], ["--keys="]),
        (["train", "x.py", "--eval_n"], ["--eval_names="]),
        (["volumes", "info", "--js"], ["--json"]),
        (["nothing", ""], []),
    ],
)
def test_bash_completes_commands_verbs_and_flags(words, expected):
    assert _in_bash(*words) == expected


def test_bash_knows_every_command():
    firsts = {name.split()[0] for name in command_table.COMMANDS}
    assert set(_in_bash("")) == firsts
    for name in command_table.COMMANDS:
        first, _, verb = name.partition(" ")
        if verb:
            assert verb in _in_bash(first, verb[:-1])


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_scripts_of_other_shells_can_be_read_by_them(shell, tmp_path):
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    file = tmp_path / f"kauldron.{shell}"
    file.write_text(completion.SCRIPTS[shell](command_table.COMMANDS))
    subprocess.run([shell, "-n", str(file)], check=True)
    if shell == "fish":
        program = f"source {file}; complete -C 'kauldron run expl'"
        result = subprocess.run(
            ["fish", "-c", program], capture_output=True, text=True, check=True
        )
        assert result.stdout.split("\t")[0].strip() == "explain_key"


def test_a_shell_that_is_not_known_is_told(call):
    code, _, err = call(completion.main, "fis")
    assert code == 2
    assert "'fish'" in err and "kauldron completion bash" in err
