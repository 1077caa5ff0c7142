"""`kauldron lm prepare`: texts to token shards."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from absl import flags

from kauldron.cli import _flags


def main(argv: Sequence[str], *, flag_values: flags.FlagValues | None = None) -> int:
    """`kauldron lm prepare --inputs=FILES --out=DIR`: tokenizes texts, in parallel."""

    def work(command: _flags.CommandLine) -> None:
        from kauldron import lm

        for name in ("inputs", "out"):
            if not command[name]:
                raise _flags.UsageError(f"Say --{name}: see --help.")

        made: list[str] = []

        def tell(name: str, counts: Any) -> None:
            made.append(name)
            if not command["json"]:
                print(f"{name}: {_described(counts)}", flush=True)

        manifest = lm.prepare_files(
            command["inputs"],
            command["out"],
            tokenizer=command["tokenizer"],
            vocab_size=command["vocab_size"],
            roles=command["roles"],
            date=command["date"],
            key=command["key"],
            separator=_unescaped(command["separator"]),
            add_bos=command["add_bos"],
            documents_per_shard=command["documents_per_shard"],
            num_workers=command["num_workers"],
            on_shard=tell,
        )
        if command["json"]:
            told = {"out": command["out"], "num_made": len(made)}
            print(json.dumps({**told, **manifest.as_dict()}))
            return
        if not made:
            print("Nothing to do: all shards were there already.")
        print(f"{command['out']}: {_described(manifest.total)}")

    return _flags.run("lm prepare", work, argv, flag_values)


def _described(counts: Any) -> str:
    empty = f", {counts.num_empty:,} empty ones left out" if counts.num_empty else ""
    learnt = ""
    if counts.num_learnt < counts.num_tokens:
        learnt = f", {counts.num_learnt:,} of them to learn"
    per_token = counts.num_bytes / max(counts.num_tokens, 1)
    return (
        f"{counts.num_documents:,} documents, {counts.num_tokens:,} tokens, "
        f"{per_token:.2f} bytes each{learnt}{empty}"
    )


def _unescaped(text: str | None) -> str | None:
    """Returns a separator as meant: a shell passes `\\n` as two letters."""
    return text and text.replace("\\n", "\n").replace("\\t", "\t")
