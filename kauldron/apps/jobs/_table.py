"""The table of jobs: one file of SQLite, so that jobs outlive the server."""

from __future__ import annotations

import dataclasses
import enum
import json
import pathlib
import time
from collections.abc import Iterable, Mapping
from typing import Any

from kauldron._base import errors, extras


class State(enum.StrEnum):
    """Where a job is; `DONE`, `FAILED` and `CANCELLED` are for good."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"
    # The server ended while it ran: it can be run again.
    INTERRUPTED = "interrupted"

    @property
    def is_active(self) -> bool:
        """Whether it waits or runs."""
        return self in (State.QUEUED, State.RUNNING)


_ACTIVE = (State.QUEUED, State.RUNNING)


class QueueFullError(Exception):
    """As many jobs wait and run as may."""


class TableError(errors.UserError, ValueError):
    """The table of jobs cannot be used."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Job:
    """A row of the table.

    Attributes:
      id: Twelve hexadecimal digits.
      app: Name of the app.
      verb: What it does.
      call: `Call.to_json()`; its paths are relative to the folder of the job.
      device: What was asked for: `auto`, `cpu`, or numbers of devices: `0,1`.
      state: Where it is.
      devices: What it was given, in the same words.
      error: Why it failed, in words for the client.
      created: Seconds since 1970.
      started: Of the last run.
      ended: When it left the queue or the device for good.
      num_runs: How often it was started.
    """

    id: str
    app: str
    verb: str
    call: Mapping[str, Any]
    device: str = "auto"
    state: State = State.QUEUED
    devices: str = ""
    error: str = ""
    created: float = 0.0
    started: float | None = None
    ended: float | None = None
    num_runs: int = 0


class JobTable:
    """The jobs of a server; every change of a state is one conditional `UPDATE`.

    So a state that is for good is set once, whoever comes second.

    Args:
      path: The file; made if it is missing.

    Raises:
      TableError: If the file is no table of jobs.
      MissingPackageError: If SQLAlchemy is not installed.
    """

    def __init__(self, path: pathlib.Path) -> None:
        sa = extras.load("sqlalchemy", needed_by="A server of apps", extra="apps")
        self._sa = sa
        self._engine = sa.create_engine(f"sqlite:///{path}")
        sa.event.listen(self._engine, "connect", _prepare)
        number, text = sa.Float, sa.Text
        self._jobs = sa.Table(
            "jobs",
            sa.MetaData(),
            sa.Column("id", sa.String(12), primary_key=True),
            *(
                sa.Column(name, text, nullable=False)
                for name in ("app", "verb", "call", "device", "devices", "error")
            ),
            sa.Column("state", sa.String(16), nullable=False, index=True),
            sa.Column("created", number, nullable=False),
            *(sa.Column(name, number) for name in ("started", "ended")),
            sa.Column("num_runs", sa.Integer, nullable=False),
        )
        try:
            self._jobs.metadata.create_all(self._engine)
        except sa.exc.DatabaseError as error:
            self.close()
            raise TableError(
                f"{str(path)!r} is no table of jobs ({error.orig}). Move it away, or "
                "choose another `--state=DIR`."
            ) from None

    def close(self) -> None:
        """Closes the file."""
        self._engine.dispose()

    def add(self, job: Job, *, max_active: int) -> Job:
        """Adds a job that waits.

        Raises:
          QueueFullError: If `max_active` jobs wait or run.
        """
        jobs, sa = self._jobs, self._sa
        job = dataclasses.replace(job, state=State.QUEUED, created=time.time())
        active = sa.select(sa.func.count()).where(jobs.c.state.in_(_ACTIVE))
        row = {**dataclasses.asdict(job), "call": json.dumps(job.call)}
        # One statement: two clients cannot both take the last place.
        values = [sa.literal(row[c.name], c.type).label(c.name) for c in jobs.c]
        there_is_room = active.scalar_subquery() < max_active
        insert = jobs.insert().from_select(
            [c.name for c in jobs.c], sa.select(*values).where(there_is_room)
        )
        with self._engine.begin() as connection:
            if connection.execute(insert).rowcount != 1:
                raise QueueFullError
        return job

    def get(self, job_id: str) -> Job | None:
        """Returns a job, or `None` if there is none."""
        query = self._sa.select(self._jobs).where(self._jobs.c.id == job_id)
        with self._engine.connect() as connection:
            row = connection.execute(query).first()
        return None if row is None else _to_job(row)

    def in_states(self, states: Iterable[State]) -> list[Job]:
        """Returns the jobs in some states, the oldest first."""
        jobs = self._jobs
        query = self._sa.select(jobs).where(jobs.c.state.in_(list(states)))
        with self._engine.connect() as connection:
            rows = connection.execute(query.order_by(jobs.c.created, jobs.c.id)).all()
        return [_to_job(row) for row in rows]

    def newest(self, count: int) -> list[Job]:
        """Returns the newest jobs, the last one first."""
        jobs = self._jobs
        query = self._sa.select(jobs).order_by(jobs.c.created.desc(), jobs.c.id)
        with self._engine.connect() as connection:
            rows = connection.execute(query.limit(count)).all()
        return [_to_job(row) for row in rows]

    def ids(self) -> set[str]:
        """Returns the ids of all jobs."""
        with self._engine.connect() as connection:
            return set(connection.execute(self._sa.select(self._jobs.c.id)).scalars())

    def num_active(self) -> int:
        """Returns how many jobs wait or run."""
        query = self._sa.select(self._sa.func.count())
        with self._engine.connect() as connection:
            where = self._jobs.c.state.in_(_ACTIVE)
            return connection.execute(query.where(where)).scalar_one()

    def start(self, job_id: str, devices: str) -> bool:
        """Says that a job that waits runs now; whether it did wait."""
        values = {"state": State.RUNNING, "devices": devices, "started": time.time()}
        runs = {"num_runs": self._jobs.c.num_runs + 1}
        return self._change(job_id, (State.QUEUED,), {**values, **runs})

    def finish(self, job_id: str, state: State, error: str = "") -> bool:
        """Sets the last state of a job that waits or runs; whether it did."""
        from_states = (*_ACTIVE, State.INTERRUPTED)
        if state is not State.CANCELLED:
            from_states = _ACTIVE
        values = {"state": state, "error": error, "ended": time.time()}
        return self._change(job_id, from_states, values)

    def interrupt(self, job_id: str) -> bool:
        """Says that the run of a job was ended with its server; whether it ran."""
        values = {"state": State.INTERRUPTED, "ended": time.time()}
        values["error"] = "The server ended while the job ran: run it again."
        return self._change(job_id, (State.RUNNING,), values)

    def run_again(self, job_id: str) -> bool:
        """Lets a job wait again that was interrupted; whether it was."""
        values = {"state": State.QUEUED, "error": "", "ended": None, "devices": ""}
        return self._change(job_id, (State.INTERRUPTED,), values)

    def forget(self, job_id: str) -> bool:
        """Removes a job that neither waits nor runs; whether there was one."""
        jobs = self._jobs
        gone = jobs.delete().where(jobs.c.id == job_id, jobs.c.state.not_in(_ACTIVE))
        with self._engine.begin() as connection:
            return connection.execute(gone).rowcount == 1

    def _change(
        self, job_id: str, from_states: Iterable[State], values: Mapping[str, Any]
    ) -> bool:
        jobs = self._jobs
        where = (jobs.c.id == job_id, jobs.c.state.in_(list(from_states)))
        update = jobs.update().where(*where).values(**values)
        with self._engine.begin() as connection:
            return connection.execute(update).rowcount == 1


def _prepare(connection: Any, record: Any) -> None:
    """Sets how a connection writes: nothing is lost when the server is killed.

    After a power cut, the last moments of files of jobs are missing as well.
    """
    del record
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "busy_timeout=5000"):
        connection.execute(f"PRAGMA {pragma}")


def _to_job(row: Any) -> Job:
    fields = {**row._mapping}
    fields["call"] = json.loads(fields["call"])
    return Job(**{**fields, "state": State(fields["state"])})
