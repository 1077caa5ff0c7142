"""Datasets: listed, entered with a fingerprint, compared with it, removed."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import Any, Literal

from kauldron._base import shared_files
from kauldron.tracking.registry import _fingerprints, _journal, _named
from kauldron.tracking.registry.errors import RegistryError
from kauldron.tracking.registry.records import Dataset

_KIND = "dataset"


class Datasets:
    """The datasets of a registry: `registry.dataset_table`.

    Args:
      store: Where they are kept.
    """

    def __init__(self, store: _named.Store) -> None:
        self._store = store

    def list(self) -> list[Dataset]:
        """Returns the datasets by name."""
        names = ("name", "path", "fingerprint", "description", "created")
        rows = self._store.rows(f"SELECT {', '.join(names)} FROM dataset ORDER BY name")
        return [Dataset(**dict(zip(names, row, strict=True))) for row in rows]

    def find(self, name: str) -> Dataset:
        """Returns a dataset.

        Raises:
          RegistryError: If there is none of this name; names the nearest.
        """
        known = {dataset.name: dataset for dataset in self.list()}
        if name not in known:
            raise _named.missing(_KIND, name, known)
        return known[name]

    def create(self, name: str, path: str, description: str | None = None) -> Dataset:
        """Enters a dataset as it is now; the same path again: as it is now.

        Args:
          name: Its name.
          path: A file, a folder or a URL.
          description: What it is; as it was unless given.

        Raises:
          RegistryError: If it cannot be read, or the name is that of another path.
        """
        _named.check_name(_KIND, name)
        place = path if shared_files.is_remote(path) else os.path.abspath(path)
        before = next((x for x in self.list() if x.name == name), None)
        if before is not None and before.path != place:
            raise RegistryError(
                f"The dataset {name!r} is {before.path!r}: choose another name, or remove "
                f"it first, `kauldron dataset rm {name}`."
            )
        if description is None:
            description = before.description if before else ""
        dataset = Dataset(
            name=name,
            path=place,
            fingerprint=_read_fingerprint(name, place),
            description=description,
            created=before.created if before else time.time(),
        )
        fields = {x: getattr(dataset, x) for x in dataset.__dataclass_fields__}
        del fields["name"]

        def work(connection: Any) -> None:
            self._enter(connection, name, fields)
            self._store.journal.append([_journal.Entry(_KIND, name, fields)])

        self._store.database.write(work)
        return dataset

    def state(self, dataset: Dataset) -> Literal["same", "changed", "gone", "unknown"]:
        """Returns how a dataset compares with what was entered."""
        if not dataset.fingerprint:
            return "unknown"
        try:
            now = _fingerprints.fingerprint(dataset.path)
        except OSError:
            return "gone"
        return "same" if now == dataset.fingerprint else "changed"

    def remove(self, name: str) -> None:
        """Forgets a dataset; its files stay.

        Raises:
          RegistryError: If there is none of this name; names the nearest.
        """
        self.find(name)
        table = self._store.t.dataset

        def work(connection: Any) -> None:
            connection.execute(table.delete().where(table.c.name == name))
            self._store.journal.append([_journal.Entry(_KIND, name, None)])

        self._store.database.write(work)

    def restore(self, entries: Mapping[tuple[str, str], Any]) -> None:
        """Enters what the journal has."""

        def work(connection: Any) -> None:
            for (kind, name), fields in entries.items():
                if kind == _KIND and fields is not None:
                    self._enter(connection, name, fields)

        self._store.database.write(work)

    def _enter(self, connection: Any, name: str, fields: Mapping[str, Any]) -> None:
        table = self._store.t.dataset
        connection.execute(table.delete().where(table.c.name == name))
        connection.execute(table.insert().values(name=name, **fields))


def _read_fingerprint(name: str, path: str) -> str:
    try:
        return _fingerprints.fingerprint(path)
    except OSError as e:
        raise RegistryError(
            f"The dataset {name!r}: {path!r} cannot be read: {e.strerror or e}."
        ) from e
