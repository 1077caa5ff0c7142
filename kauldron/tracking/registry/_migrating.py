"""Upgrades: which version a database is of, and how it becomes the newest."""

from __future__ import annotations

import os
from typing import Any

from kauldron._base import extras
from kauldron.tracking.registry import _reading, _schema, errors

_TABLE = "alembic_version"


def revision_of(reader: _reading.Reader) -> str | None:
    """Returns the revision of a database; `None` if it has no tables yet."""
    names = reader.table_names()
    if _TABLE in names:
        return _reading.first(reader.rows(f"SELECT version_num FROM {_TABLE}"))
    if names:
        raise errors.RegistryError(
            f"This database is no registry: it has tables {', '.join(sorted(names)[:5])}."
        )
    return None


def is_current(revision: str | None, place: str) -> bool:
    """Whether a database is of this version.

    Raises:
      RegistryError: If it is of a newer one.
    """
    if revision is not None and revision > _schema.REVISION:
        raise errors.RegistryError(
            f"The registry {place} was written by a newer version of Kauldron (revision "
            f"{revision}, this one knows {_schema.REVISION}): upgrade Kauldron. Nothing "
            "was changed."
        )
    return revision == _schema.REVISION


def upgrade(connection: Any) -> None:
    """Does all steps that a database lacks, inside of the transaction."""
    known = scripts()
    alembic_migration = _load("alembic.runtime.migration")
    operations = _load("alembic.operations")
    context = alembic_migration.MigrationContext.configure(connection)
    steps = list(known.iterate_revisions("head", context.get_current_revision()))
    with operations.Operations.context(context):
        for step in reversed(steps):
            step.module.upgrade()
            context.stamp(known, step.revision)


def newest() -> str:
    """Returns the last revision that there is a step for."""
    return scripts().get_current_head()


def scripts() -> Any:
    """Returns the steps that there are, as Alembic reads them."""
    folder = os.path.join(os.path.dirname(__file__), "migrations")
    script = _load("alembic.script")
    return script.ScriptDirectory(folder, version_locations=[folder])


def _load(module: str) -> Any:
    return extras.load(module, needed_by="The registry of runs", extra="tracking")
