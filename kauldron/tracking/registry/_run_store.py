"""The runs of a registry: numbered, read, changed, forgotten, and restored."""

from __future__ import annotations

import uuid as uuid_lib
from collections.abc import Iterable, Sequence
from typing import Any

from etils import epath

from kauldron._base import extras
from kauldron.tracking.registry import (
    _database,
    _indexing,
    _journal,
    _notes,
    _places,
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
        self._sa = extras.load(
            "sqlalchemy", needed_by="The registry of runs", extra="tracking"
        )
        self._t = _schema.tables()
        self.uuid = self._identity()
        self._indexer = _indexing.Indexer(
            database, journal, self.uuid, places, defaults
        )

    def _identity(self) -> str:
        """Returns who the workspace is: as the database says, else as the journal does."""
        table = self._t.workspace
        with self._database.reading() as connection:
            found = connection.execute(self._sa.select(table.c.uuid)).scalar()
        if found is not None:
            if (
                self._journal.is_new and not self._database.is_read_only
            ):  # of a machine that is new to a server
                self._journal.append([_journal.Entry("workspace", found, {})])
            return found
        entries = self._journal.read()
        kept = next((key for kind, key in entries if kind == "workspace"), None)

        def work(connection: Any) -> str:
            found = connection.execute(self._sa.select(table.c.uuid)).scalar()
            if found is not None:  # another process was faster
                return found
            uuid = kept or uuid_lib.uuid4().hex
            following = 1 + _indexing.last_number(entries, uuid)
            values = {"uuid": uuid, "next_run": following, "is_whole": not entries}
            connection.execute(table.insert().values(**values))
            if kept is None:
                self._journal.append([_journal.Entry("workspace", uuid, {})])
            return uuid

        return self._database.write(work)

    @property
    def is_whole(self) -> bool:
        """Whether everything is in the database that is kept beside it."""
        with self._database.reading() as connection:
            statement = self._sa.select(self._t.workspace.c.is_whole)
            return connection.execute(statement).scalar_one()

    def become_whole(self) -> None:
        """Says that everything is in the database."""
        statement = self._t.workspace.update().values(is_whole=True)
        self._database.write(lambda connection: connection.execute(statement))

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
        run = self._t.run
        rows = self._sa.select(run.c.workdir).where(
            run.c.state.in_(("running", "unknown"))
        )
        with self._database.reading() as connection:
            keys = connection.execute(rows).scalars().all()
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

    def number(self, connection: Any, name: str) -> int:
        """Returns the number of a run, see `Registry.run`."""
        where = f"the registry {self._database.shown_place}"
        finder = _runs_found.Finder(connection, self._places.key_of, where)
        return finder.number(name)

    def fetch(self, connection: Any, statement: Any) -> list[Run]:
        """Returns the runs that a statement selects."""
        rows = connection.execute(statement).all()
        tags: dict[int, list[str]] = {}
        table = self._t.run_tag
        tagged = self._sa.select(table.c.run_id, table.c.tag)
        if len(rows) <= 100:
            tagged = tagged.where(table.c.run_id.in_([row.id for row in rows]))
        for number, tag in connection.execute(tagged):
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
        run = self._t.run
        for number in numbers:
            found = self._sa.select(run.c.workdir).where(run.c.id == number)
            key = connection.execute(found).scalar()
            connection.execute(run.delete().where(run.c.id == number))
            fields = {"ids": {self.uuid: number}, "removed": True}
            self._journal.append([_journal.Entry("run", key, fields)])
