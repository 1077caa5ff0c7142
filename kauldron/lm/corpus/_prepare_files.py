"""`prepare_files`: files and a tokenizer, by their names, to token shards."""

from __future__ import annotations

import dataclasses
import itertools
import os
import pathlib
from collections.abc import Callable, Sequence

from kauldron import data
from kauldron.data.py import base
from kauldron.lm.corpus import _prepare, _shard_files, _sources, _texts
from kauldron.lm.text import _chat_template, _tokenizer

# A vocabulary hardly changes with more texts.
_MAX_TEXTS_TO_LEARN_FROM = 100_000


def prepare_files(
    inputs: Sequence[str],
    out: str | os.PathLike[str],
    *,
    tokenizer: str | None = None,
    vocab_size: int | None = None,
    roles: Sequence[str] = (),
    date: str | None = None,
    key: str | None = None,
    separator: str | None = None,
    add_bos: bool = False,
    documents_per_shard: int = 10_000,
    num_workers: int | None = None,
    on_shard: Callable[[str, _shard_files.Counts], None] | None = None,
) -> _shard_files.Manifest:
    """Tokenizes files into a folder that `TokenShards` reads; see `prepare`.

    Args:
      inputs: Files, patterns, or folders; see `source_of`.
      out: The folder.
      tokenizer: A Hugging Face folder, or a GGUF file.
      vocab_size: Instead: learns a tokenizer of so many tokens from the texts.
      roles: Whose messages are learnt, if the files hold conversations; without, they
        hold texts.
      date: What chat templates tell that write today's date, such as `"2026-11-30"`.
      key: Field of the text, by default `"text"`, or of the messages, `"messages"`.
      separator: Between documents of plain text files.
      add_bos: Whether `bos` stands in front of each document.
      documents_per_shard: Documents of one shard.
      num_workers: Processes; as many as cores by default.
      on_shard: Called with name and counts of each shard that is made now.

    Raises:
      DataError: If there is not one of tokenizer and vocabulary size, there are
        conversations and no tokenizer, and as `prepare`.
      TokenizerError: If the tokenizer cannot be read.
    """
    if (tokenizer is None) == (vocab_size is None):
        raise data.DataError(
            "Name a tokenizer, a folder or a GGUF file, or a `vocab_size` to learn one: "
            f"got tokenizer={tokenizer!r}, vocab_size={vocab_size!r}."
        )
    key = key or ("messages" if roles else "text")
    source = _prepare.source_of(inputs, key=key, separator=separator)
    if roles:
        source = _chats(source, key, tokenizer, tuple(roles), date)
    return _prepare.prepare(
        source,
        out,
        tokenizer=_read(tokenizer)
        if tokenizer is not None
        else _learn(source, key, pathlib.Path(out), vocab_size or 0),
        # A small corpus has fewer tokens than were asked for.
        more_plan={} if vocab_size is None else {"vocab_size": vocab_size},
        key=key,
        add_bos=add_bos,
        documents_per_shard=documents_per_shard,
        num_workers=num_workers,
        on_shard=on_shard,
    )


def _chats(
    source: base.DataSourceBase,
    key: str,
    tokenizer: str | None,
    roles: tuple[str, ...],
    date: str | None,
) -> base.DataSourceBase:
    """Returns the source that makes tokens of its conversations."""
    if tokenizer is None:
        raise data.DataError(
            "Conversations are written with the chat template of a model: name its "
            "folder or GGUF file as `tokenizer`. A `vocab_size` learns a tokenizer "
            "without a template."
        )
    if isinstance(source, _sources.TextFolder | _sources.Hdf5):
        raise data.DataError(
            "Conversations are read from .jsonl or .parquet files, each a list of "
            f"messages in the field {key!r}: got {type(source).__name__}({source.path})."
        )
    known = _read(tokenizer)
    transform = _texts.ChatToTokens(
        tokenizer=known,
        template=_chat_template.ChatTemplate.of(known, date=date),
        key=key,
        roles=roles,
        must_learn=False,
    )
    return dataclasses.replace(source, transforms=[transform])


def _read(path: str) -> _tokenizer.Tokenizer:
    if pathlib.Path(path).suffix == ".gguf":
        return _tokenizer.Tokenizer.from_gguf(path)
    return _tokenizer.Tokenizer.from_folder(path)


def _learn(
    source: base.DataSourceBase, key: str, out: pathlib.Path, vocab_size: int
) -> _tokenizer.Tokenizer:
    """Returns the tokenizer that an earlier start has learnt, or learns it."""
    if (out / _shard_files.PLAN).is_file():
        return _tokenizer.Tokenizer.from_folder(out / _shard_files.TOKENIZER)
    texts = _prepare.texts_of(source, key=key)
    texts = itertools.islice(texts, _MAX_TEXTS_TO_LEARN_FROM)
    return _tokenizer.Tokenizer.train(texts, vocab_size)
