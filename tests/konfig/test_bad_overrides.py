"""500 bad overrides of the examples: all refused, all with a message that helps.

The same ones in each run; `KONFIG_SEED=123 KONFIG_NUM_CASES=5000` tries others.
"""

import collections
import os
import pathlib
import re
import subprocess
import sys

import bad_overrides
import pytest
from absl import flags

from kauldron import errors, konfig

pytest.importorskip("optax")

_ROOT = pathlib.Path(__file__).parents[2]
_EXAMPLES = sorted(
    path
    for path in (_ROOT / "examples").glob("*.py")
    if "def get_config(" in path.read_text(encoding="utf-8")
)
_NUM_CASES = int(os.environ.get("KONFIG_NUM_CASES", 500))


def _parse(path, flag):
    flag_values = flags.FlagValues()
    holder = konfig.DEFINE_config_file("cfg", flag_values=flag_values)
    flag_values(["program", f"--cfg={path}", flag])
    return holder.value


@pytest.mark.parametrize("path", _EXAMPLES, ids=lambda path: path.stem)
def test_bad_overrides_are_refused_and_name_what_was_meant(path, capsys):
    seed = int(os.environ.get("KONFIG_SEED", 0))
    fields = list(bad_overrides.list_fields(konfig.load_config_file(path)))
    # Of each kind one at least; every second one is a typo.
    num_cases = max(-(-_NUM_CASES // len(_EXAMPLES)), 2 * len(bad_overrides.KINDS))
    cases = bad_overrides.generate(fields, seed=seed, num_cases=num_cases)
    problems, wrong_names = [], []
    num_typos = 0
    for case in cases:
        shown = f"{case.kind}: {case.flag[:100]}"
        try:
            _parse(path, case.flag)
        except errors.UserError as error:
            message = str(error)
        except Exception as error:
            problems.append(f"{shown}: traceback of {type(error).__name__}: {error}")
            continue
        else:
            # A short name in a free-form dict may be meant; then a line tells of it.
            is_told = len(case.meant) == 4 and "new field" in capsys.readouterr().err
            if not is_told:
                problems.append(f"{shown}: accepted")
            continue
        if len(message) > 3000 or len(message.splitlines()) > 12:
            problems.append(f"{shown}: the message is long ({len(message)})")
        if case.meant:
            num_typos += 1
            named = re.search(r"Did you mean '([^']*)'", message)
            if not named or named[1] != case.meant:
                wrong_names.append(
                    f"{shown}: meant {case.meant!r}, got {message[:200]}"
                )
    kinds = collections.Counter(case.kind for case in cases)
    assert kinds.keys() == bad_overrides.KINDS.keys()
    assert not problems, "\n".join(problems)
    # A typo can be as near to another name: two in a few are allowed, 5 % of many.
    print(f"{path.stem}: {len(wrong_names)} of {num_typos} typos; {dict(kinds)}")
    assert len(wrong_names) <= max(2, 0.05 * num_typos), "\n".join(wrong_names)


def test_misspelt_part_of_a_call_that_takes_any_name_is_found():
    flag = "--cfg.trainstep.groups.generator.optimizer.aadm.b1=0.0"
    with pytest.raises(errors.UserError, match=r"Did you mean 'adam'.* adam, ema"):
        _parse(_ROOT / "examples" / "digits_gan.py", flag)


def test_command_exits_with_2_and_shows_no_traceback():
    command = [sys.executable, "-m", "kauldron.main", f"--cfg={_EXAMPLES[0]}"]
    done = subprocess.run(
        [*command, "--cfg.num_trian_steps=5"],
        capture_output=True,
        text=True,
        check=False,
        cwd=_ROOT,
    )
    assert done.returncode == 2, done.stderr
    assert "Did you mean 'num_train_steps'?" in done.stderr
    assert "Traceback" not in done.stderr


def test_examples_were_found():
    assert len(_EXAMPLES) >= 2
