"""`kauldron lm <verb>`: language models that exist already."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from absl import flags

from kauldron.cli import _flags


def generate(
    argv: Sequence[str], *, flag_values: flags.FlagValues | None = None
) -> int:
    """`kauldron lm generate`: answers a question, or goes on with a text."""

    def work(command: _flags.CommandLine) -> None:
        model = _model(command)
        prompt = command.required("prompt", "'Once upon a time'")
        options = _options(command)
        with _compilation_cache():
            generator = _generator(command, model)
            if generator.is_for_chat and not command["raw"]:
                prompt = [{"role": "user", "content": prompt}]
            for piece in generator.stream(prompt, **options):
                print(piece, end="", flush=True)
            print()

    return _flags.run("lm generate", work, argv, flag_values)


def chat(argv: Sequence[str], *, flag_values: flags.FlagValues | None = None) -> int:
    """`kauldron lm chat`: a conversation in the terminal."""

    def work(command: _flags.CommandLine) -> None:
        model = _model(command)
        from kauldron import lm

        options = _options(command)
        with _compilation_cache():
            lm.talk(_generator(command, model), system=command["system"], **options)

    return _flags.run("lm chat", work, argv, flag_values)


def score(argv: Sequence[str], *, flag_values: flags.FlagValues | None = None) -> int:
    """`kauldron lm score`: how likely a text is under a model."""

    def work(command: _flags.CommandLine) -> None:
        model, file = _model(command), command.required("file", "README.md")
        from kauldron import lm

        text = lm.read_text(file)
        with _compilation_cache():
            found = lm.score(
                _generator(command, model),
                text,
                window=command["window"],
                stride=command["stride"],
            )
        if command["json"]:
            print(json.dumps({"file": file, **found.as_dict()}))
        else:
            print(f"{file}: {found}")

    return _flags.run("lm score", work, argv, flag_values)


def convert(argv: Sequence[str], *, flag_values: flags.FlagValues | None = None) -> int:
    """`kauldron lm convert`: writes a folder that other programs read."""

    def work(command: _flags.CommandLine) -> None:
        model, out = _model(command), command.required("out", "smollm2_hf")
        from kauldron import lm

        written = lm.convert(
            model,
            out,
            dtype=command["dtype"],
            trusted=command["trust"],
            overwrite=command["overwrite"],
        )
        print(written)

    return _flags.run("lm convert", work, argv, flag_values)


def _model(command: _flags.CommandLine) -> Any:
    return command.required("model", "smollm2")


def _generator(command: _flags.CommandLine, model: str) -> Any:
    from kauldron import lm

    return lm.text_generator(model, trusted=command["trust"])


def _options(command: _flags.CommandLine) -> dict[str, Any]:
    from kauldron import lm

    names = ("temperature", "top_k", "top_p")
    try:
        sampling = lm.Sampling(**{name: command[name] for name in names})
    except ValueError as e:
        raise _flags.UsageError(str(e)) from None
    names = ("max_tokens", "seed")
    return {"sampling": sampling, **{name: command[name] for name in names}}


def _compilation_cache() -> Any:
    from kauldron import train

    return train.compilation_cache(wanted=True)
