"""`kauldron serve`: a language model over HTTP."""

from __future__ import annotations

import dataclasses
import json
import shlex
from collections.abc import Sequence
from typing import Any

from absl import flags

from kauldron.cli import _flags

_SOURCES = ("model", "workdir", "hf", "gguf")
_SIZES = ("num_slots", "context_length", "cache_gb", "weights_dtype")


def main(argv: Sequence[str], *, flag_values: flags.FlagValues | None = None) -> int:
    """Serves until Ctrl-C or SIGTERM, and lets the answers in progress end.

    Args:
      argv: Program name and arguments.
      flag_values: Where flags are defined; the global ones unless given.

    Returns:
      The exit code.
    """

    def work(command: _flags.CommandLine) -> None:
        from kauldron import serve, train

        source = _source(command)
        keys = serve.read_api_keys(command["api_key_file"])
        with (
            serve.open_port(command["host"], command["port"]) as listening,
            train.compilation_cache(wanted=True),
        ):
            serve.check_packages()
            print(f"Loading {source} ...", flush=True)
            sizes = {name: command[name] for name in _SIZES}
            with serve.Engine(
                source,
                model_name=command["name"],
                trusted=command["trust"],
                **sizes,
            ) as engine:
                app = serve.make_app(engine, api_keys=keys, timeout=command["timeout"])
                serve.run_server(
                    app,
                    listening,
                    on_start=lambda address: _tell(engine, address, bool(keys)),
                )
                print("All answers are given.", flush=True)

    return _flags.run("serve", work, argv, flag_values)


def bench(argv: Sequence[str], *, flag_values: flags.FlagValues | None = None) -> int:
    """`kauldron bench serve`: how fast a language model is served."""

    def work(command: _flags.CommandLine) -> None:
        model = command.required("model", "smollm2")
        if not all(number.isdecimal() and int(number) for number in command["streams"]):
            raise _flags.UsageError(
                "--streams are numbers such as 1,4,16: got "
                f"{','.join(command['streams'])!r}."
            )
        streams = [int(number) for number in command["streams"]]
        names = ("context_length", "num_drafts", "weights_dtype")
        from kauldron import serve, train

        with (
            train.compilation_cache(wanted=True),
            serve.Engine(
                model,
                num_slots=max(streams),
                trusted=command["trust"],
                **{name: command[name] for name in names},
            ) as engine,
        ):
            names = ("prompt_tokens", "max_tokens")
            sizes = {name: command[name] for name in names}
            report = serve.measure_speed(engine, streams=streams, **sizes)
        if command["json"]:
            print(json.dumps(dataclasses.asdict(report)))
        else:
            print(report)

    return _flags.run("bench serve", work, argv, flag_values)


def _source(command: _flags.CommandLine) -> str:
    given = [name for name in _SOURCES if command[name] is not None]
    if len(given) != 1:
        got = " and ".join(f"--{name}" for name in given) or "none of them"
        raise _flags.UsageError(
            "Say which model with one of --model, --workdir, --hf, --gguf, for instance "
            f"`--model=smollm2`: got {got}."
        )
    return command[given[0]]


def _tell(engine: Any, address: str, has_keys: bool) -> None:
    print(f"Serving {engine.model_name} at {address} (Ctrl-C ends it). Try:")
    path, body = "chat/completions", {"model": engine.model_name}
    if engine.chat_template is None:
        path, body["prompt"] = "completions", "Once upon a time"
    else:
        message = {"role": "user", "content": "Hello!"}
        body = {**body, "messages": [message]}
    words = ["curl", f"{address}/v1/{path}", "-H", "Content-Type: application/json"]
    words += ["-d", json.dumps(body)]
    key = ' -H "Authorization: Bearer $KEY"' if has_keys else ""
    print(f"  {shlex.join(words)}{key}", flush=True)
