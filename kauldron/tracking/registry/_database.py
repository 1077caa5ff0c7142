"""The database: how it is opened, upgraded, read, and written by many at once."""

from __future__ import annotations

import contextlib
import functools
import os
import random
import sqlite3
import time
import urllib.parse
from collections.abc import Callable, Iterator
from typing import Any, NoReturn, TypeVar, cast

from etils import epath

from kauldron._base import extras, shared_files
from kauldron.tracking.registry import _migrating, _reading, errors

_T = TypeVar("_T")

# How long a writer waits for others; each keeps the database for less than a second.
_BUSY_SECS = 60.0
# What is tried again: another has the database, or made a change at the same time.
_PASSING = (
    "database is locked",
    "database table is locked",
    "database is busy",
    "locking protocol",
    "deadlock detected",
    "could not serialize access",
)
_FULL = ("disk is full", "disk I/O error", "No space left")
_READ_ONLY = ("readonly database", "read-only transaction", "permission denied for")


class Database:
    """A database of SQLite or PostgreSQL.

    Args:
      place: Path of a SQLite file, or a URL.
      read_only: Whether nothing may be written. A file that this user may not write is
        read-only in any case.

    Raises:
      RegistryError: If it cannot be opened, or a newer version has written it.
    """

    def __init__(self, place: str, *, read_only: bool = False) -> None:
        self.place = place
        self.path = sqlite_path(place)
        self.is_read_only = read_only or (
            self.path is not None and _is_locked(self.path)
        )
        with self._explained():
            self._prepare()

    @property
    def shown_place(self) -> str:
        """Path or URL, without the password."""
        if self.path is not None:
            return repr(os.fspath(self.path))
        return repr(_without_password(self.place))

    @contextlib.contextmanager
    def reading(self) -> Iterator[_reading.Reader]:
        """Yields a reader that sees the database as it is now."""
        with self._explained():
            if self.path is None:
                with self._engine.connect() as connection:
                    yield _reading.SqlalchemyReader(connection)
                return
            with contextlib.closing(self._connect()) as connection:
                connection.execute("BEGIN")
                yield _reading.SqliteReader(connection)

    def write(self, work: Callable[[Any], _T]) -> _T:
        """Does something in a transaction of its own; returns its result.

        Writers come one after the other. Where another one is in the way for long, the
        work is done again: it may have no effects but on the connection.

        Args:
          work: Takes a connection of SQLAlchemy.

        Raises:
          RegistryError: If the database is read-only.
          RegistryBusyError: If others have kept it locked for a minute.
        """
        if self.is_read_only:
            self.refuse()
        deadline = time.monotonic() + _BUSY_SECS
        with self._explained():
            while True:
                try:
                    with self._writing() as connection:
                        return work(connection)
                except Exception as e:
                    is_passing = _is_passing(_complaint(e) or "")
                    if not is_passing or time.monotonic() > deadline:
                        raise
                time.sleep(random.uniform(0.01, 0.1))

    @contextlib.contextmanager
    def kept_open(self) -> Iterator[None]:
        """Makes many transactions quick: SQLite tidies up when nobody has a file open."""
        if self.path is None:
            yield
            return
        with self._explained(), contextlib.closing(self._connect()) as connection:
            connection.execute("SELECT count(*) FROM sqlite_master").fetchall()
            yield

    def close(self) -> None:
        """Closes connections that wait to be used again."""
        if "_engine" in self.__dict__:
            self._engine.dispose()

    @contextlib.contextmanager
    def _writing(self) -> Iterator[Any]:
        with self._engine.connect() as connection:
            connection = connection.execution_options(kauldron_writes=True)
            with connection.begin():
                yield connection

    @functools.cached_property
    def _engine(self) -> Any:
        sa = _sqlalchemy()
        if self.path is None:
            return _postgres_engine(sa, self.place)
        engine = sa.create_engine(
            "sqlite://",
            creator=self._connect,
            poolclass=sa.pool.NullPool,  # connections outlive neither a fork nor a file
        )
        sa.event.listen(engine, "begin", _begin_sqlite)
        return engine

    def _connect(self) -> sqlite3.Connection:
        path = cast(epath.Path, self.path)
        connection = sqlite3.connect(
            _sqlite_uri(path, self.is_read_only),
            uri=True,
            timeout=_BUSY_SECS,
            check_same_thread=False,
            isolation_level=None,  # transactions are begun here, and below
        )
        connection.execute("PRAGMA foreign_keys=ON")
        # A transaction survives a killed process; after a power cut the last ones may be
        # missing, and `runs index` reads them again.
        connection.execute("PRAGMA synchronous=NORMAL")
        return connection

    def _prepare(self) -> None:
        """Makes the tables, or brings them up to date, if that is needed."""
        if self.path is not None and not self.path.parent.is_dir():
            folder = os.fspath(self.path.parent)
            raise errors.RegistryError(
                f"The registry {self.shown_place} cannot be made, as there is no folder "
                f"{folder!r}. Make it, or correct the setting `database`, which is in "
                "`kauldron.yaml` or KAULDRON_DATABASE."
            )
        with self.reading() as reader:
            revision = _migrating.revision_of(reader)
        if _migrating.is_current(revision, self.shown_place):
            return
        if self.is_read_only:
            what = "is empty" if revision is None else "is of an older version"
            raise errors.RegistryError(
                f"The registry {self.shown_place} {what}, and cannot be written to."
            )
        with self._alone():
            self.write(self._upgrade)

    def _upgrade(self, connection: Any) -> None:
        # Another process may have done it meanwhile.
        revision = _migrating.revision_of(_reading.SqlalchemyReader(connection))
        if not _migrating.is_current(revision, self.shown_place):
            _migrating.upgrade(connection)

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Keeps other processes from making tables at the same time."""
        if self.path is None:
            yield  # PostgreSQL: a lock inside of the transaction
            return
        with shared_files.exclusive(shared_files.lock_of(self.path)):
            # Stays in the file. Others may read meanwhile, also while one writes.
            self._in_autocommit("PRAGMA journal_mode=WAL")
            yield

    def _in_autocommit(self, statement: str) -> None:
        with contextlib.closing(self._connect()) as connection:
            connection.execute(statement).fetchall()

    def refuse(self) -> NoReturn:
        """Raises that nothing can be changed."""
        raise errors.RegistryError(
            f"The registry {self.shown_place} is read-only: nothing was changed."
        )

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """Puts what the database complains about into words."""
        try:
            yield
        except OSError as e:
            raise errors.RegistryError(
                f"The registry {self.place!r} cannot be used: {e.strerror or e}."
            ) from e
        except Exception as e:
            if (said := _complaint(e)) is None:
                raise
            raise self._explanation(said) from e

    def _explanation(self, said: str) -> Exception:
        place = self.shown_place
        if any(x in said for x in _READ_ONLY):
            return errors.RegistryError(
                f"The registry {place} cannot be written to: {said}."
            )
        if _is_passing(said):
            return errors.RegistryBusyError(
                f"The registry {place} is in use by others for more than "
                f"{_BUSY_SECS:.0f} s ({said}). Try again later."
            )
        if self.path is None or any(x in said for x in _FULL):
            return errors.RegistryBusyError(
                f"The registry {place} cannot be used: {said}."
            )
        return errors.RegistryError(
            f"The registry {place} cannot be used: {said}. Moved away, it is made "
            "anew by `kauldron runs index`, from the runs and what is beside it."
        )


def sqlite_path(place: str) -> epath.Path | None:
    """Returns the file of a database; `None` if it is on a server.

    Raises:
      RegistryError: If it is neither.
    """
    scheme, separator, rest = place.partition("://")
    if not separator:
        return epath.Path(os.path.abspath(place))
    if scheme == "sqlite" and rest.startswith("/"):
        return epath.Path(os.path.abspath(rest[1:]))
    if scheme.partition("+")[0] in ("postgresql", "postgres"):
        return None
    raise errors.RegistryError(
        f"{_without_password(place)!r} is no registry: give the path of a file, "
        "sqlite:///PATH, or postgresql://USER@HOST/NAME."
    )


def _without_password(place: str) -> str:
    parts = urllib.parse.urlsplit(place)
    if not parts.password:
        return place
    host = parts.netloc.rpartition("@")[2]
    return parts._replace(netloc=f"{parts.username}:***@{host}").geturl()


def _sqlalchemy() -> Any:
    return extras.load("sqlalchemy", needed_by="The registry of runs", extra="tracking")


def _postgres_engine(sa: Any, place: str) -> Any:
    extras.load("psycopg", needed_by="A registry on PostgreSQL", extra="postgres")
    rest = place.partition("://")[2]
    engine = sa.create_engine(
        f"postgresql+psycopg://{rest}", pool_size=2, pool_pre_ping=True
    )
    sa.event.listen(engine, "begin", _begin_postgres)
    return engine


def _sqlite_uri(path: epath.Path, is_read_only: bool) -> str:
    query = ""
    if is_read_only:
        # Without a log beside it nobody writes, and reading it needs no lock file, which
        # could not be made in a folder that is read-only too.
        is_in_use = path.with_name(f"{path.name}-wal").exists()
        query = "?mode=ro" if is_in_use else "?mode=ro&immutable=1"
    return f"file:{urllib.parse.quote(os.fspath(path))}{query}"


def _begin_sqlite(connection: Any) -> None:
    writes = connection.get_execution_options().get("kauldron_writes")
    # A reader that starts to write later would fail if another has written meanwhile.
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _begin_postgres(connection: Any) -> None:
    if connection.get_execution_options().get("kauldron_writes"):
        # Writers come one after the other, as in SQLite.
        connection.exec_driver_sql("SELECT pg_advisory_xact_lock(5412367)")


def _is_locked(path: epath.Path) -> bool:
    """Whether a file is there, and this user may not write it, or not beside it."""
    return path.exists() and not (
        os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)
    )


def _complaint(error: Exception) -> str | None:
    """Returns what a database complains about; `None` if it is no error of one."""
    # SQLAlchemy's errors have that of the driver.
    said = error if isinstance(error, sqlite3.Error) else getattr(error, "orig", None)
    if said is None:
        return None
    lines = str(said).strip().splitlines()
    return lines[0] if lines else ""


def _is_passing(said: str) -> bool:
    return any(text in said for text in _PASSING)
