"""Indexing: what the registry knows of workdirs is brought up to date with them."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from kauldron._base import extras
from kauldron.tracking.registry import (
    _database,
    _journal,
    _notes,
    _places,
    _reading,
    _run_rows,
    _run_writer,
    _schema,
    _workdir_facts,
)
from kauldron.tracking.registry.records import IndexReport, Run

# Runs that are written in one transaction: so few that others wait for less than a second.
_BATCH = 200
# Up to so many runs are asked for by name.
_FEW = 100


class Known(NamedTuple):
    """What the registry knows of a workdir.

    Attributes:
      number: Of the run.
      mark: Of its files when they were read.
    """

    number: int
    mark: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Defaults:
    """Where runs belong that don't say it.

    Attributes:
      project: Name of the project.
      experiment: Name of the experiment; the folder above the workdir if it is empty.
    """

    project: str = "default"
    experiment: str = ""


class _Read(NamedTuple):
    """A workdir that was read and is to be written."""

    key: str
    workdir: str
    facts: _workdir_facts.Facts
    notes: _notes.Notes


class Indexer:
    """Brings the database up to date with workdirs.

    Args:
      database: The database.
      journal: What is kept beside it.
      uuid: Identity of the workspace.
      places: How workdirs are named.
      defaults: Where runs belong that don't say it.
    """

    def __init__(
        self,
        database: _database.Database,
        journal: _journal.Journal,
        uuid: str,
        places: _places.Places,
        defaults: Defaults,
    ) -> None:
        self._database = database
        self._journal = journal
        self._uuid = uuid
        self._places = places
        self._defaults = defaults
        self._reader = _workdir_facts.Reader()
        # What the journal has, while many workdirs are read.
        self._kept: Mapping[tuple[str, str], Any] | None = None

    def index(
        self,
        workdirs: Iterable[str],
        *,
        again: bool = False,
        missing: Callable[[], Iterable[str]] = tuple,
    ) -> IndexReport:
        """Reads the workdirs that have changed, and writes what they tell.

        Args:
          workdirs: Paths.
          again: Whether those are read, too, that have not changed.
          missing: Called at the end: the ids of runs whose workdirs are gone.
        """
        workdirs = list(workdirs)
        known = self.known(workdirs if len(workdirs) <= _FEW else None)
        self._kept = None
        added: list[str] = []
        updated: list[str] = []
        unchanged: list[str] = []
        problems: list[str] = []
        batch: list[_Read] = []

        def write() -> None:
            # New runs are numbered in the order in which they were started.
            batch.sort(key=lambda read: read.facts.started)
            for number, is_new in self._write(batch):
                (added if is_new else updated).append(_run_rows.id_of(number))
            batch.clear()

        with self._database.kept_open():
            for workdir in workdirs:
                key = self._places.key_of(workdir)
                before, mark = known.get(key), _workdir_facts.mark_of(workdir)
                if before and not again and before.mark == mark:
                    unchanged.append(_run_rows.id_of(before.number))
                    continue
                facts = self._reader.read(workdir)
                problems.extend(facts.problems)
                notes = _notes.read(workdir) or self._kept_notes(key)
                batch.append(_Read(key, workdir, facts, notes))
                if len(batch) >= _BATCH:
                    write()
            write()
        return IndexReport(
            added=tuple(added),
            updated=tuple(updated),
            unchanged=tuple(unchanged),
            missing=tuple(missing()),
            problems=tuple(problems),
        )

    def known(self, workdirs: Sequence[str] | None = None) -> dict[str, Known]:
        """Returns what the database knows by key: of some workdirs, or of all."""
        found, value = "SELECT workdir, id, mark FROM run", _reading.Values()
        if workdirs is not None:
            keys = map(self._places.key_of, workdirs)
            found += f" WHERE workdir IN {value.one_of(keys)}"
        with self._database.reading() as reader:
            return {
                workdir: Known(number, mark)
                for workdir, number, mark in reader.rows(found, value.by_name)
            }

    def _kept_notes(self, key: str) -> _notes.Notes:
        """Returns what the journal has of a run: for workdirs that cannot be written."""
        if self._kept is None:
            self._kept = self._journal.read()
        return _notes.Notes.from_json(self._kept.get(("run", key)))

    def _write(self, batch: list[_Read]) -> list[tuple[int, bool]]:
        """Writes runs; returns the number of each, and whether it is new."""
        if not batch:
            return []

        def work(connection: Any) -> list[tuple[int, bool]]:
            writer = _run_writer.RunWriter(connection)
            numbers = [self._write_run(writer, read) for read in batch]
            writer.finish()
            # Before the transaction ends: what is in the database is in the journal.
            self._journal.append(
                entry(read.key, _notes.applied(read.notes, ids={self._uuid: number}))
                for read, (number, is_new) in zip(batch, numbers, strict=True)
                if is_new or read.notes.ids.get(self._uuid) != number
            )
            return numbers

        numbers = self._database.write(work)
        self._note_numbers(batch, [number for number, _ in numbers])
        return numbers

    def _note_numbers(self, batch: list[_Read], numbers: list[int]) -> None:
        """Writes numbers into the workdirs, so that runs are known if they move."""
        marks: list[dict[str, Any]] = []
        for read, number in zip(batch, numbers, strict=True):
            if read.notes.ids.get(self._uuid) == number:
                continue
            with contextlib.suppress(OSError):  # of somebody else: the journal has it
                _notes.change(read.workdir, read.notes, ids={self._uuid: number})
                before, now = read.facts.mark, _workdir_facts.mark_of(read.workdir)
                # Only the notes differ; if more does, it is read again the next time.
                if _without_notes(now) == _without_notes(before):
                    marks.append({"number": number, "before": before, "now": now})
        if not marks:
            return
        sa = extras.load(
            "sqlalchemy", needed_by="The registry of runs", extra="tracking"
        )

        def work(connection: Any) -> None:
            run = _schema.tables().run
            number, before, now = map(sa.bindparam, ("number", "before", "now"))
            same = (run.c.id == number) & (run.c.mark == before)
            statement = run.update().where(same).values(mark=now)
            connection.execute(statement, marks)

        self._database.write(work)

    def rewrite(self, run: Run, notes: _notes.Notes) -> None:
        """Writes a run anew whose notes have changed; its workdir may be gone."""
        if _places.exists(run.workdir):
            self.index([run.workdir], again=True)
            return
        facts = _workdir_facts.Facts(
            state=run.status,
            step=run.step,
            num_steps=run.num_steps,
            started=run.started,
            heartbeat=run.ended,
            message=run.message,
            parameters=run.parameters,
            metrics=run.metrics,
            mark="",
        )
        self._write(
            [_Read(self._places.key_of(run.workdir), run.workdir, facts, notes)]
        )

    def _write_run(
        self, writer: _run_writer.RunWriter, read: _Read
    ) -> tuple[int, bool]:
        found = "SELECT id FROM run WHERE workdir = :key"
        number = _reading.first(writer.reader.rows(found, {"key": read.key}))
        if number is None:
            number, is_new = self._number_for(writer, read)
        else:
            is_new = False
        project, family, experiment = self._groups_of(read)
        project_key = writer.project(project)
        family_key = writer.family(project_key, family) if family else None
        writer.write(
            number,
            read.key,
            read.notes.name or os.path.basename(read.workdir.rstrip("/")),
            writer.experiment(project_key, family_key, experiment),
            read.facts,
            read.notes,
            is_new=is_new,
        )
        return number, is_new

    def _number_for(
        self, writer: _run_writer.RunWriter, read: _Read
    ) -> tuple[int, bool]:
        """Returns the number of a workdir that is not known, and whether it is new.

        One that has a number of this workspace has moved; if the workdir of that number
        still exists, it is a copy, and gets another number.
        """
        wanted = read.notes.ids.get(self._uuid)
        if wanted is None:  # its process may have been killed before it was noted there
            wanted = self._kept_notes(read.key).ids.get(self._uuid)
        if wanted is None:
            return writer.take_number(), True
        found = "SELECT workdir FROM run WHERE id = :number"
        other = _reading.first(writer.reader.rows(found, {"number": wanted}))
        if other is None:
            return writer.take_number(wanted), True
        if _workdir_facts.mark_of(self._places.path_of(other)):
            return writer.take_number(), True
        return wanted, False

    def _groups_of(self, read: _Read) -> tuple[str, str, str]:
        """Returns project, family and experiment: as noted, as configured, or the default."""
        notes, parameters = read.notes, read.facts.parameters
        above = os.path.basename(os.path.dirname(os.path.abspath(read.workdir)))

        def named(noted: str, field: str, default: str) -> str:
            return noted or str(parameters.get(f"tracking.{field}") or default)

        return (
            named(notes.project, "project", self._defaults.project),
            named(notes.family, "family", ""),
            named(notes.experiment, "experiment", self._defaults.experiment or above),
        )


def entry(key: str, notes: _notes.Notes) -> _journal.Entry:
    """Returns what the journal keeps of a run."""
    return _journal.Entry("run", key, notes.to_json())


def last_number(entries: Mapping[tuple[str, str], Any], uuid: str) -> int:
    """Returns the largest number that a run of the journal has had."""
    numbers = [
        _notes.Notes.from_json(fields).ids.get(uuid, 0)
        for (kind, _), fields in entries.items()
        if kind == "run"
    ]
    return max(numbers, default=0)


def _without_notes(mark: str) -> str:
    return mark.rpartition(" ")[0]
