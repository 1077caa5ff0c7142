"""`prepare`: a corpus of texts to token shards, in parallel, going on where it was."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import hashlib
import json
import multiprocessing
import os
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from kauldron import data
from kauldron.data.py import base
from kauldron.lm.corpus import _documents, _rows, _shard_files, _sources
from kauldron.lm.text import _tokenizer

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
    yield from _documents.Documents(source, key).texts()


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
    more_plan: Mapping[str, Any]

    def plan(self, documents: _documents.Documents) -> dict[str, Any]:
        """Returns what must be the same for a preparation that goes on."""
        return {
            "num_documents": len(documents),
            "beginning": self._fingerprint(
                next(documents.batches(0, _documents.BATCH))
            ),
            "tokenizer": self.tokenizer.fingerprint,
            "key": self.key,
            "add_bos": self.add_bos,
            "add_eos": self.add_eos,
            "documents_per_shard": self.documents_per_shard,
            **self.more_plan,
        }

    def encode(self, documents: list[Any]) -> list[_documents.Encoded]:
        """Returns what is stored of documents."""
        return _documents.encode(
            documents, self.tokenizer, add_bos=self.add_bos, add_eos=self.add_eos
        )

    def _fingerprint(self, documents: list[Any]) -> str:
        """Returns a digest of texts, or of tokens and which of them are learnt."""
        content = "\n".join(
            one if isinstance(one, str) else repr([list(x) for x in one.values()])
            for one in documents
        )
        return hashlib.sha256(content.encode()).hexdigest()[:32]


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
    more_plan: Mapping[str, Any] | None = None,
) -> _shard_files.Manifest:
    """Tokenizes a corpus into a folder that `TokenShards` reads.

    Shards are ranges of documents, written as a whole or not at all: what is there already
    is not made again, and the number of workers changes nothing. Empty texts are left out
    and counted; nothing is cut off.

    Elements of the source have a text; or they have `tokens`, as `ChatToTokens` among its
    transforms makes them of conversations, and perhaps `loss_mask`, which is kept: what is
    not to be learnt is not learnt from shards either. Documents of which nothing is to be
    learnt count as empty.

    Args:
      source: The documents; its transforms are applied, its order is kept.
      out: The folder.
      tokenizer: Is saved with the shards.
      key: Where the text is.
      add_bos: Whether `bos` stands in front of each text.
      add_eos: Whether `eos` stands behind each text.
      documents_per_shard: Documents of one shard.
      num_workers: Processes; as many as cores by default. A script that uses more than
        one needs `if __name__ == "__main__":` around what it runs.
      on_shard: Called with name and counts of each shard that is made now.
      more_plan: What else must be the same if the folder is gone on with.

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
        source=source,
        out=folder,
        tokenizer=tokenizer,
        key=key,
        add_bos=add_bos,
        add_eos=add_eos,
        documents_per_shard=documents_per_shard,
        more_plan=more_plan or {},
    )
    documents = _documents.Documents(source, key)
    num_documents = len(documents)
    _begin(job, job.plan(documents))
    names = _shard_files.names_of(-(-num_documents // documents_per_shard))
    counts = {
        name: found
        for name in names
        if (found := _shard_files.read_counts(folder, name)) is not None
    }
    missing = [shard for shard in enumerate(names) if shard[1] not in counts]
    for name, counted in _made(job, missing, num_workers):
        counts[name] = counted
        if on_shard is not None:
            on_shard(name, counted)
    if not sum(counts.values(), _shard_files.Counts()).num_documents:
        raise data.DataError(
            f"All {num_documents} {documents.name} of the corpus are empty: there is "
            "nothing to learn from."
        )
    full = {name: counts[name] for name in names if counts[name].num_documents}
    return _shard_files.write_manifest(
        folder, tokenizer, full, has_loss_mask=documents.have_loss_mask
    )


class _Maker:
    """Makes shards, one after the other, in one process."""

    def __init__(self, job: _Job) -> None:
        self._job = job
        self._documents = _documents.Documents(job.source, job.key)

    def make(self, number: int, name: str) -> _shard_files.Counts:
        """Makes one shard; returns what it holds."""
        job = self._job
        dtype = _shard_files.dtype_for(job.tokenizer.num_tokens)
        kept: list[_documents.Encoded] = []
        counts = _shard_files.Counts()
        first = number * job.documents_per_shard
        for some in self._documents.batches(first, first + job.documents_per_shard):
            encoded = job.encode(some)
            full = [one for one in encoded if len(one.tokens)]
            counts += _counts(full, num_empty=len(encoded) - len(full))
            kept += [one._replace(tokens=one.tokens.astype(dtype)) for one in full]
        _shard_files.write_shard(
            job.out,
            name,
            [one.tokens for one in kept] or [np.zeros(0, dtype)],
            counts,
            is_learnt=self._is_learnt(kept),
        )
        return counts

    def _is_learnt(self, documents: list[_documents.Encoded]) -> np.ndarray | None:
        """Returns which tokens are learnt, if the source says so."""
        if not self._documents.have_loss_mask:
            return None
        masks = [one.is_learnt for one in documents if one.is_learnt is not None]
        return np.concatenate([np.zeros(0, bool), *masks])


def _counts(
    documents: list[_documents.Encoded], *, num_empty: int
) -> _shard_files.Counts:
    num_learnt = sum(
        len(one.tokens) if one.is_learnt is None else int(one.is_learnt.sum())
        for one in documents
    )
    return _shard_files.Counts(
        num_documents=len(documents),
        num_empty=num_empty,
        num_tokens=sum(len(one.tokens) for one in documents),
        num_learnt=num_learnt,
        num_bytes=sum(one.num_bytes for one in documents),
        max_token=max((int(one.tokens.max()) for one in documents), default=-1),
    )


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
    job: _Job, missing: Sequence[tuple[int, str]], num_workers: int | None
) -> Iterator[tuple[str, _shard_files.Counts]]:
    """Makes shards, of these numbers and names."""
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
