"""Projects, families, experiments, datasets and artifacts, made and removed by people."""

from __future__ import annotations

from typing import Any

from kauldron._base import errors, extras
from kauldron.tracking.registry import (
    _database,
    _journal,
    _run_rows,
    _schema,
)
from kauldron.tracking.registry.errors import RegistryError
from kauldron.tracking.registry.records import (
    Artifact,
    Dataset,
    Experiment,
    Family,
    Project,
)

_MAX_NAME = 200


class Catalog:
    """What people have named.

    Args:
      database: The database.
      journal: What is kept beside it.
    """

    def __init__(self, database: _database.Database, journal: _journal.Journal) -> None:
        self._database = database
        self._journal = journal
        self._sa = extras.load(
            "sqlalchemy", needed_by="The registry of runs", extra="tracking"
        )
        self._t = _schema.tables()

    def projects(self) -> list[Project]:
        """Returns the projects by name."""
        t, sa = self._t, self._sa
        statement = (
            sa.select(t.project, sa.func.count(t.run.c.id).label("num_runs"))
            .select_from(
                t.project.outerjoin(t.experiment).outerjoin(
                    t.run, t.run.c.experiment_id == t.experiment.c.id
                )
            )
            .group_by(t.project.c.id)
            .order_by(t.project.c.name)
        )
        return [
            Project(
                name=row.name,
                description=row.description,
                created=row.created,
                num_runs=row.num_runs,
            )
            for row in self._rows(statement)
        ]

    def families(self) -> list[Family]:
        """Returns the families by project and name."""
        t, sa = self._t, self._sa
        project = t.project.c.name.label("project")
        statement = (
            sa.select(t.family, project, sa.func.count(t.run.c.id).label("num_runs"))
            .select_from(
                t.family.join(t.project)
                .outerjoin(t.experiment, t.experiment.c.family_id == t.family.c.id)
                .outerjoin(t.run, t.run.c.experiment_id == t.experiment.c.id)
            )
            .group_by(t.family.c.id, t.project.c.name)
            .order_by(t.project.c.name, t.family.c.name)
        )
        return [
            Family(
                name=row.name,
                project=row.project,
                description=row.description,
                created=row.created,
                num_runs=row.num_runs,
            )
            for row in self._rows(statement)
        ]

    def experiments(self) -> list[Experiment]:
        """Returns the experiments by project and name."""
        t, sa = self._t, self._sa
        project, family = t.project.c.name, t.family.c.name
        statement = (
            sa.select(
                t.experiment,
                project.label("project"),
                family.label("family"),
                sa.func.count(t.run.c.id).label("num_runs"),
            )
            .select_from(
                t.experiment.join(
                    t.project, t.experiment.c.project_id == t.project.c.id
                )
                .outerjoin(t.family, t.experiment.c.family_id == t.family.c.id)
                .outerjoin(t.run, t.run.c.experiment_id == t.experiment.c.id)
            )
            .group_by(t.experiment.c.id, project, family)
            .order_by(project, t.experiment.c.name)
        )
        return [
            Experiment(
                name=row.name,
                project=row.project,
                family=row.family or "",
                description=row.description,
                created=row.created,
                num_runs=row.num_runs,
            )
            for row in self._rows(statement)
        ]

    def datasets(self) -> list[Dataset]:
        """Returns the datasets by name."""
        table = self._t.dataset
        statement = self._sa.select(table).order_by(table.c.name)
        return [
            Dataset(
                name=row.name,
                path=row.path,
                fingerprint=row.fingerprint,
                description=row.description,
                created=row.created,
            )
            for row in self._rows(statement)
        ]

    def artifacts(self) -> list[Artifact]:
        """Returns the artifacts by name and version."""
        table, tag = self._t.artifact, self._t.artifact_tag
        tags: dict[int, list[str]] = {}
        for number, word in self._rows(self._sa.select(tag.c.artifact_id, tag.c.tag)):
            tags.setdefault(number, []).append(word)
        statement = self._sa.select(table).order_by(table.c.name, table.c.version)
        return [
            Artifact(
                name=row.name,
                version=row.version,
                path=row.path,
                kind=row.kind,
                stage=row.stage,
                tags=tuple(sorted(tags.get(row.id, ()))),
                run=_run_rows.id_of(row.run_id) if row.run_id else "",
                description=row.description,
                created=row.created,
            )
            for row in self._rows(statement)
        ]

    def check(self, kind: str, name: str) -> None:
        """Raises `RegistryError` if there is no project, experiment, ... of a name."""
        names = self._names(kind)
        if name not in names:
            near = errors.did_you_mean(name, names)
            listed = (
                f" There are {', '.join(names[:10])}." if names else " There is none."
            )
            raise RegistryError(f"There is no {kind} {name!r}.{near}{listed}")

    def _names(self, kind: str) -> list[str]:
        table = getattr(self._t, kind)
        return [
            row.name
            for row in self._rows(
                self._sa.select(table.c.name).distinct().order_by(table.c.name)
            )
        ]

    def restore(self) -> None:
        """Enters what the journal has."""

    def _rows(self, statement: Any) -> list[Any]:
        with self._database.reading() as connection:
            return connection.execute(statement).all()
