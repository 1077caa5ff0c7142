"""`prepare`: a corpus of texts to token shards, in parallel, going on where it was."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import hashlib
import json
import multiprocessing
import os
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from kauldron import data
from kauldron.data.py import base
from kauldron.lm.corpus import _rows, _shard_files, _sources
from kauldron.lm.text import _tokenizer

_BATCH = 256
_JSON, _PARQUET, _HDF5 = {".jsonl"}, {".parquet"}, {".h5", ".hdf5"}


def source_of(
    inputs: Sequence[str], *, key: str = "text", separator: str | None = None
) -> base.DataSourceBase:
    """Returns the source that reads files, by their suffix.

    Args:
      inputs: Files, patterns, or folders: `.jsonl`, `.parquet`, `.h5` or `.hdf5`; all
        others are plain texts.
      key: Field of the text, in files that have fields.
      separator: Between documents of plain text files; see `TextFolder`.

    Raises:
      DataError: If there are none, or of several kinds.
    """
    if not inputs:
        raise data.DataError("No file was named to prepare.")
    files = _sources.find_files(list(inputs), "**/*")
    suffixes = {pathlib.Path(file).suffix.lower() for file in files}
    special = suffixes & (_JSON | _PARQUET | _HDF5)
    if special and len(suffixes) > 1:
        raise data.DataError(
            f"The files must be of one kind: got {sorted(suffixes)}. Prepare each kind in "
            "a folder of its own."
        )
    options: dict[str, Any] = {"shuffle": False, "seed": 0}
    if suffixes <= _JSON:
        return _sources.JsonLines(files, keys=[key], **options)
    if suffixes <= _PARQUET:
        return data.py.Parquet(files, columns=[key], **options)
    if suffixes <= _HDF5:
        if len(files) > 1:
            raise data.DataError(f"One HDF5 file at a time: got {files}.")
        return _sources.Hdf5(files[0], keys=[key], **options)
    return _sources.TextFolder(files, separator=separator, **options)


def texts_of(source: base.DataSourceBase, *, key: str = "text") -> Iterator[str]:
    """Yields the texts of a source, in its order; `Tokenizer.train` takes them."""
    documents = _Documents(source, key)
    for texts in documents.batches(0, len(documents)):
        yield from texts


@dataclasses.dataclass(frozen=True)
class _Job:
    """What each shard is made of; equal jobs make equal shards."""

    source: base.DataSourceBase
    out: pathlib.Path
    tokenizer: _tokenizer.Tokenizer
    key: str
    add_bos: bool
    add_eos: bool
    documents_per_shard: int

    def plan(self, documents: _Documents) -> dict[str, Any]:
        """Returns what must be the same for a preparation that goes on."""
        beginning = "\n".join(next(documents.batches(0, _BATCH)))
        return {
            "num_documents": len(documents),
            "beginning": hashlib.sha256(beginning.encode()).hexdigest()[:32],
            "tokenizer": self.tokenizer.fingerprint,
            "key": self.key,
            "add_bos": self.add_bos,
            "add_eos": self.add_eos,
            "documents_per_shard": self.documents_per_shard,
        }


def prepare(
    source: base.DataSourceBase,
    out: str | os.PathLike[str],
    *,
    tokenizer: _tokenizer.Tokenizer,
    key: str = "text",
    add_bos: bool = False,
    add_eos: bool = True,
    documents_per_shard: int = 10_000,
    num_workers: int | None = None,
    on_shard: Callable[[str, _shard_files.Counts], None] | None = None,
) -> _shard_files.Manifest:
    """Tokenizes a corpus into a folder that `TokenShards` reads.

    Shards are ranges of documents, written as a whole or not at all: what is there already
    is not made again, and the number of workers changes nothing. Empty texts are left out
    and counted; nothing is cut off.

    Args:
      source: Texts; its transforms are applied, its order is kept.
      out: The folder.
      tokenizer: Is saved with the shards.
      key: Where the text is.
      add_bos: Whether `bos` stands in front of each document.
      add_eos: Whether `eos` stands behind each document.
      documents_per_shard: Documents of one shard.
      num_workers: Processes; as many as cores by default. A script that uses more than
        one needs `if __name__ == "__main__":` around what it runs.
      on_shard: Called with name and counts of each shard, when it is there.

    Returns:
      What the folder holds.

    Raises:
      DataError: If the corpus is empty, or `out` holds what was made of something else.
    """
    _rows.check_length("prepare", "documents_per_shard", documents_per_shard)
    for is_added, role in ((add_bos, "bos"), (add_eos, "eos")):
        if is_added:
            tokenizer.required_id(role)
    folder = pathlib.Path(out)
    job = _Job(
        source, folder, tokenizer, key, add_bos, add_eos, documents_per_shard
    )  # fmt: skip
    documents = _Documents(source, key)
    num_documents = len(documents)
    _begin(job, job.plan(documents))
    names = _shard_files.names_of(-(-num_documents // documents_per_shard))
    counts: dict[str, _shard_files.Counts] = {}
    for name, counted in _made(job, names, num_workers):
        counts[name] = counted
        if on_shard is not None:
            on_shard(name, counted)
    if not sum(counts.values(), _shard_files.Counts()).num_documents:
        raise data.DataError(
            f"All {num_documents} texts of the corpus are empty: there is nothing to learn "
            "from."
        )
    full = {name: counts[name] for name in names if counts[name].num_documents}
    return _shard_files.write_manifest(folder, tokenizer, full)


class _Documents:
    """The texts of a source, by ranges; the source is opened once."""

    def __init__(self, source: base.DataSourceBase, key: str) -> None:
        self._batches = _plain(source, _BATCH)
        self._key = key
        self._length = len(_plain(source, 1))

    def __len__(self) -> int:
        return self._length

    def batches(self, start: int, stop: int) -> Iterator[list[str]]:
        """Yields the texts of a range of documents, some at a time."""
        stop = min(stop, self._length)
        for number in range(start // _BATCH, -(-stop // _BATCH)):
            texts = self._texts(number)
            before = number * _BATCH
            yield texts[max(start - before, 0) : stop - before]

    def _texts(self, number: int) -> list[str]:
        try:
            batch = self._batches[number]
        except TypeError:
            raise data.DataError(
                "A corpus whose transforms filter has no ranges that shards could be made "
                "of: filter it before it is prepared."
            ) from None
        if not isinstance(batch, dict) or self._key not in batch:
            seen = sorted(batch) if isinstance(batch, dict) else type(batch).__name__
            raise data.DataKeyError(
                f"The documents have no {self._key!r}: they have {seen}. Say where their "
                "text is."
            )
        texts = batch[self._key].tolist()
        for text in texts:
            if not isinstance(text, str):
                raise data.DataError(
                    f"{self._key!r} of a document is no text: {text!r}."
                )
        return texts


class _Maker:
    """Makes shards, one after the other, in one process."""

    def __init__(self, job: _Job) -> None:
        self._job = job
        self._documents = _Documents(job.source, job.key)

    def make(self, number: int, name: str) -> _shard_files.Counts:
        """Makes one shard; returns what it holds."""
        job = self._job
        dtype = _shard_files.dtype_for(job.tokenizer.num_tokens)
        documents: list[np.ndarray] = []
        counts = _shard_files.Counts()
        first = number * job.documents_per_shard
        for texts in self._documents.batches(first, first + job.documents_per_shard):
            full = [text for text in texts if text]
            encoded = job.tokenizer.encode_batch(
                full, add_bos=job.add_bos, add_eos=job.add_eos
            )
            kept = [tokens.astype(dtype) for tokens in encoded if len(tokens)]
            documents += kept
            counts += _shard_files.Counts(
                num_documents=len(kept),
                num_empty=len(texts) - len(kept),
                num_tokens=sum(map(len, kept)),
                num_bytes=sum(len(text.encode()) for text in full),
                max_token=max((int(tokens.max()) for tokens in kept), default=-1),
            )
        _shard_files.write_shard(
            job.out, name, documents or [np.zeros(0, dtype)], counts
        )
        return counts


def _begin(job: _Job, plan: dict[str, Any]) -> None:
    """Writes plan and tokenizer, or checks that the plan is the same."""
    file = job.out / _shard_files.PLAN
    if file.is_file():
        before = json.loads(file.read_text("utf-8"))
        for name, value in plan.items():
            if before.get(name) != value:
                raise data.DataError(
                    f"{job.out} holds shards that were made otherwise: `{name}` was "
                    f"{before.get(name)!r}, now it is {value!r}. Use another folder, or "
                    "delete this one."
                )
        return
    job.out.mkdir(parents=True, exist_ok=True)
    job.tokenizer.save(job.out / _shard_files.TOKENIZER)
    _shard_files.write_json(file, plan)


def _made(
    job: _Job, names: Sequence[str], num_workers: int | None
) -> Iterator[tuple[str, _shard_files.Counts]]:
    """Makes the shards that are missing; yields all."""
    missing = []
    for number, name in enumerate(names):
        found = _shard_files.read_counts(job.out, name)
        if found is None:
            missing.append((number, name))
        else:
            yield name, found
    num_workers = min(num_workers or os.cpu_count() or 1, len(missing))
    if num_workers <= 1:
        maker = _Maker(job)
        for number, name in missing:
            yield name, maker.make(number, name)
        return
    executor = concurrent.futures.ProcessPoolExecutor(
        num_workers,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_start_worker,
        initargs=(job,),
    )
    with executor:
        futures = {executor.submit(_make_in_worker, *shard): shard for shard in missing}
        try:
            for future in concurrent.futures.as_completed(futures):
                yield futures[future][1], future.result()
        except BaseException:
            executor.shutdown(cancel_futures=True)
            raise


_of_worker: list[_Maker] = []


def _start_worker(job: _Job) -> None:
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # of this worker: each has its core
    _of_worker.append(_Maker(job))


def _make_in_worker(number: int, name: str) -> _shard_files.Counts:
    return _of_worker[0].make(number, name)


def _plain(source: base.DataSourceBase, batch_size: int) -> base.DataSourceBase:
    """Returns the documents of a source, once and in order."""
    return dataclasses.replace(
        source,
        shuffle=False,
        batch_size=batch_size,
        num_epochs=1,
        num_workers=0,
        batch_drop_remainder=False,
        shard_by_process=False,
        seed=0,
    )
