"""The runs of a registry: numbered, read, changed, forgotten, and restored."""

from __future__ import annotations

import uuid as uuid_lib
from collections.abc import Iterable, Sequence
from typing import Any

from etils import epath

from kauldron.tracking.registry import (
    _database,
    _indexing,
    _journal,
    _notes,
    _places,
    _queries,
    _reading,
    _run_rows,
    _runs_found,
    _schema,
)
from kauldron.tracking.registry.errors import RegistryError
from kauldron.tracking.registry.records import IndexReport, Run


class RunStore:
    """The runs of a registry.

    Args:
      database: The database.
      journal: What is kept beside it.
      places: How workdirs are named.
      defaults: Where runs belong that don't say it.

    Attributes:
      uuid: Identity of the workspace, which numbers its runs.
      is_whole: Whether everything is in the database that is kept beside it.
    """

    def __init__(
        self,
        database: _database.Database,
        journal: _journal.Journal,
        places: _places.Places,
        defaults: _indexing.Defaults,
    ) -> None:
        self._database = database
        self._journal = journal
        self._places = places
        self.uuid, self.is_whole = self._identity()
        self._indexer = _indexing.Indexer(
            database, journal, self.uuid, places, defaults
        )

    def _identity(self) -> tuple[str, bool]:
        """Returns who the workspace is, as database or journal say, and `is_whole`."""
        with self._database.reading() as reader:
            found = _identity_in(reader)
        if found is not None:
            if (
                self._journal.is_new and not self._database.is_read_only
            ):  # of a machine that is new to a server
                self._journal.append([_journal.Entry("workspace", found[0], {})])
            return found
        entries = self._journal.read()
        kept = next((key for kind, key in entries if kind == "workspace"), None)

        def work(connection: Any) -> tuple[str, bool]:
            found = _identity_in(_reading.SqlalchemyReader(connection))
            if found is not None:  # another process was faster
                return found
            uuid = kept or uuid_lib.uuid4().hex
            following = 1 + _indexing.last_number(entries, uuid)
            values = {"uuid": uuid, "next_run": following, "is_whole": not entries}
            connection.execute(_schema.tables().workspace.insert().values(**values))
            if kept is None:
                self._journal.append([_journal.Entry("workspace", uuid, {})])
            return uuid, not entries

        return self._database.write(work)

    def become_whole(self) -> None:
        """Says that everything is in the database."""
        statement = _schema.tables().workspace.update().values(is_whole=True)
        self._database.write(lambda connection: connection.execute(statement))
        self.is_whole = True

    def kept_workdirs(self) -> list[str]:
        """Returns the workdirs that the journal knows, and that are still there."""
        paths = [
            self._places.path_of(key)
            for (kind, key), fields in self._journal.read().items()
            if kind == "run" and fields is not None and not fields.get("removed")
        ]
        return list(filter(_places.exists, paths))

    def refresh(self) -> None:
        """Reads again what has changed of runs that were not at their end."""
        if self._database.is_read_only:
            return
        with self._database.reading() as reader:
            rows = reader.rows(
                "SELECT workdir FROM run WHERE state IN ('running', 'unknown')"
            )
        keys = [key for (key,) in rows]
        if keys:
            self._indexer.index(filter(_places.exists, map(self._places.path_of, keys)))

    def index(
        self, workdirs: Iterable[str] | None, *, inside: str | None = None
    ) -> IndexReport:
        """Brings runs up to date with their workdirs; tells whose workdir is gone.

        Args:
          workdirs: Paths; `None` for all that are known.
          inside: Folder in which workdirs are missed; anywhere unless given.
        """
        known = {
            self._places.path_of(key): known.number
            for key, known in self._indexer.known().items()
        }
        if workdirs is None:
            there = filter(_places.exists, known)
            workdirs = dict.fromkeys((*self.kept_workdirs(), *there))
        return self._indexer.index(
            workdirs,
            missing=lambda: [
                _run_rows.id_of(number)
                for path, number in known.items()
                if (inside is None or path == inside or path.startswith(f"{inside}/"))
                and not _places.exists(path)
            ],
        )

    def read(self, workdir: str, *, again: bool) -> None:
        """Brings one run up to date with its workdir; `again`: in any case."""
        self._indexer.index([workdir], again=again)

    def number(self, reader: _reading.Reader, name: str) -> int:
        """Returns the number of a run, see `Registry.run`."""
        where = f"the registry {self._database.shown_place}"
        return _runs_found.Finder(reader, self._places.key_of, where).number(name)

    def fetch(self, reader: _reading.Reader, search: _queries.Search) -> list[Run]:
        """Returns the runs that are searched for."""
        rows = [_run_rows.Row(*row) for row in reader.rows(*search.statement())]
        tagged, value = "SELECT run_id, tag FROM run_tag", _reading.Values()
        if len(rows) <= 100:
            tagged += f" WHERE run_id IN {value.one_of(row.id for row in rows)}"
        tags: dict[int, list[str]] = {}
        for number, tag in reader.rows(tagged, value.by_name):
            tags.setdefault(number, []).append(tag)
        return [
            _run_rows.to_run(
                row, self._places.path_of(row.workdir), tags.get(row.id, ())
            )
            for row in rows
        ]

    def note(self, workdir: str, default: _notes.Notes, **changes: Any) -> None:
        """Changes what is said of a run: in its workdir, else in the journal alone."""
        if self._database.is_read_only:
            self._database.refuse()
        try:
            notes = _notes.change(workdir, default, **changes)
        except OSError:
            notes = _notes.applied(default, **changes)
        self._journal.append([_indexing.entry(self._places.key_of(workdir), notes)])

    def notes_of(self, run: Run) -> _notes.Notes:
        """Returns what is said of a run."""
        if (notes := _notes.read(run.workdir)) is not None:
            return notes
        kept = self._journal.read().get(("run", self._places.key_of(run.workdir)))
        return _notes.Notes.from_json(kept)

    def rewrite(self, run: Run) -> None:
        """Writes a run anew whose notes have changed; its workdir may be gone."""
        self._indexer.rewrite(run, self.notes_of(run))

    def remove(self, run: Run, *, with_files: bool) -> None:
        """Forgets a run, see `Registry.remove`."""
        if self._database.is_read_only:
            self._database.refuse()
        if run.is_alive:
            raise RegistryError(
                f"{run.id} is running (step {run.step} of {run.num_steps}): stop it first."
            )
        number = _run_rows.number_of(run.id)
        self._database.write(lambda connection: self.forget(connection, [number]))
        if with_files and _places.exists(run.workdir):
            epath.Path(run.workdir).rmtree()

    def forget(self, connection: Any, numbers: Sequence[int]) -> None:
        """Removes runs inside of a transaction; their numbers are not given again."""
        run = _schema.tables().run
        reader = _reading.SqlalchemyReader(connection)
        for number in numbers:
            found = "SELECT workdir FROM run WHERE id = :number"
            key = _reading.first(reader.rows(found, {"number": number}))
            connection.execute(run.delete().where(run.c.id == number))
            fields = {"ids": {self.uuid: number}, "removed": True}
            self._journal.append([_journal.Entry("run", key, fields)])


def _identity_in(reader: _reading.Reader) -> tuple[str, bool] | None:
    rows = reader.rows("SELECT uuid, is_whole FROM workspace")
    return (rows[0][0], bool(rows[0][1])) if rows else None
