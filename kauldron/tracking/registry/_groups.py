"""Projects, families and experiments: listed, made, described, removed."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from kauldron.tracking.registry import _journal, _named, _run_writer
from kauldron.tracking.registry.errors import RegistryError
from kauldron.tracking.registry.records import Experiment, Family, Project

_Group: TypeAlias = Project | Family | Experiment
_KINDS = ("project", "family", "experiment")
# What a group is in, and how it is joined with that and with its experiments.
_ABOVE = {"project": (), "family": ("project",), "experiment": ("project", "family")}
_JOINED = {
    "project": "project LEFT JOIN experiment ON experiment.project_id = project.id",
    "family": "family JOIN project ON family.project_id = project.id "
    "LEFT JOIN experiment ON experiment.family_id = family.id",
    "experiment": "experiment JOIN project ON experiment.project_id = project.id "
    "LEFT JOIN family ON experiment.family_id = family.id",
}


class Groups:
    """The groups of a registry: `registry.group_table`.

    A run makes its project and its experiment by itself; here people make and describe
    them.

    Args:
      store: Where they are kept.
      forget: Takes the numbers of runs, inside of a transaction: they are forgotten.
    """

    def __init__(
        self, store: _named.Store, forget: Callable[[Any, Sequence[int]], None]
    ) -> None:
        self._store = store
        self._forget = forget

    def projects(self) -> list[Project]:
        """Returns the projects by name."""
        return [Project(**fields) for fields in self._listed("project")]

    def families(self) -> list[Family]:
        """Returns the families by project and name."""
        return [Family(**fields) for fields in self._listed("family")]

    def experiments(self) -> list[Experiment]:
        """Returns the experiments by project and name."""
        return [Experiment(**fields) for fields in self._listed("experiment")]

    def _listed(self, kind: str) -> list[dict[str, Any]]:
        """Returns the fields of all groups of a kind."""
        columns = {x: f"{kind}.{x}" for x in ("name", "description", "created")}
        columns |= {x: f"coalesce({x}.name, '')" for x in _ABOVE[kind]}
        columns["num_runs"] = "count(run.id)"
        rows = self._store.rows(
            f"SELECT {', '.join(columns.values())} FROM {_JOINED[kind]} "
            "LEFT JOIN run ON run.experiment_id = experiment.id "
            f"GROUP BY {', '.join(f'{x}.id' for x in (kind, *_ABOVE[kind]))} "
            f"ORDER BY project.name, {kind}.name"
        )
        return [dict(zip(columns, row, strict=True)) for row in rows]

    def find(self, kind: str, name: str, project: str | None = None) -> _Group:
        """Returns a group.

        Args:
          kind: `project`, `family` or `experiment`.
          name: Its name.
          project: The project that it is in; needed only where several have such a name.

        Raises:
          RegistryError: If there is none, or several; names the nearest.
        """
        listed = {
            "project": self.projects,
            "family": self.families,
            "experiment": self.experiments,
        }
        groups = [g for g in listed[kind]() if project in (None, _project_of(g))]
        found = [group for group in groups if group.name == name]
        if len(found) == 1:
            return found[0]
        if found:
            projects = ", ".join(repr(_project_of(group)) for group in found)
            raise RegistryError(
                f"Several projects have a {kind} {name!r}: {projects}. Say which, with "
                "`--project`."
            )
        raise _named.missing(kind, name, [group.name for group in groups])

    def create(
        self,
        kind: str,
        name: str,
        *,
        project: str = "",
        family: str = "",
        description: str | None = None,
    ) -> bool:
        """Makes a group, or describes one that exists; returns whether it is new.

        What it is in is made too.

        Args:
          kind: `project`, `family` or `experiment`.
          name: Its name.
          project: Of a family or an experiment.
          family: Of an experiment, or nothing.
          description: What it is about; as it was unless given.

        Raises:
          RegistryError: If nothing can be called so, or the registry is read-only.
        """
        for each, called in (
            (kind, name),
            *(("project", project) for _ in range(kind != "project")),
            *(("family", family) for _ in range(bool(family))),
        ):
            _named.check_name(each, called)
        fields: dict[str, Any] = {"project": project, "family": family}
        fields = {key: value for key, value in fields.items() if value}
        if description is not None:
            fields["description"] = description

        def work(connection: Any) -> bool:
            before = self._key(connection, kind, name, project or name)
            is_new = before is None
            if is_new:
                fields["created"] = time.time()
            self._enter(connection, kind, name, fields)
            key = name if kind == "project" else f"{project}/{name}"
            kept = self._store.journal.read().get((kind, key)) or {}
            entry = _journal.Entry(kind, key, {**kept, **fields})
            self._store.journal.append([entry])
            return is_new

        return self._store.database.write(work)

    def remove(
        self,
        kind: str,
        name: str,
        project: str | None = None,
        *,
        with_runs: bool = False,
    ) -> int:
        """Removes a group, with what is in it; returns how many runs it had.

        Args:
          kind: `project`, `family` or `experiment`.
          name: Its name.
          project: The project that it is in, see `find`.
          with_runs: Whether its runs may be forgotten; their workdirs stay.

        Raises:
          RegistryError: If there is no such group, or it has runs.
        """
        group = self.find(kind, name, project)
        if group.num_runs and not with_runs:
            has = "has a run" if group.num_runs == 1 else f"has {group.num_runs} runs"
            raise RegistryError(
                f"The {kind} {name!r} {has}. With `--with_runs` such are forgotten too; "
                "workdirs stay."
            )
        t, sa = self._store.t, self._store.sa
        gone = self._with_inner(kind, group)

        def work(connection: Any) -> None:
            for each, inner in gone:
                table = getattr(t, each)
                key = self._key(connection, each, inner.name, _project_of(inner))
                if each == "experiment":
                    runs = sa.select(t.run.c.id).where(t.run.c.experiment_id == key)
                    self._forget(connection, connection.execute(runs).scalars().all())
                connection.execute(table.delete().where(table.c.id == key))
            self._store.journal.append(
                _journal.Entry(each, _key_of(inner), None) for each, inner in gone
            )

        self._store.database.write(work)
        return group.num_runs

    def _with_inner(self, kind: str, group: _Group) -> list[tuple[str, _Group]]:
        """Returns a group and the groups inside of it, the innermost first."""
        if kind == "experiment":
            return [(kind, group)]
        inner: list[tuple[str, _Group]] = [
            ("experiment", x)
            for x in self.experiments()
            if x.project == _project_of(group)
            and (kind == "project" or x.family == group.name)
        ]
        if kind == "project":
            inner += [("family", x) for x in self.families() if x.project == group.name]
        return [*inner, (kind, group)]

    def restore(self, entries: Mapping[tuple[str, str], Any]) -> None:
        """Enters what the journal has."""

        def work(connection: Any) -> None:
            for kind in _KINDS:
                for (found, key), fields in entries.items():
                    if found == kind and fields is not None:
                        name = key.rpartition("/")[2]
                        self._enter(connection, kind, name, fields)

        self._store.database.write(work)

    def _enter(
        self, connection: Any, kind: str, name: str, fields: Mapping[str, Any]
    ) -> None:
        """Makes a group, and what it is in."""
        writer = _run_writer.RunWriter(connection)
        project = fields.get("project") or name
        key = project_key = writer.project(project)
        family = name if kind == "family" else fields.get("family")
        family_key = writer.family(project_key, family) if family else None
        if kind == "family":
            key = family_key
        elif kind == "experiment":
            key = writer.experiment(project_key, family_key, name)
        table = getattr(self._store.t, kind)
        known = {x: fields[x] for x in ("description", "created") if x in fields}
        if known:
            connection.execute(table.update().where(table.c.id == key).values(**known))

    def _key(self, connection: Any, kind: str, name: str, project: str) -> int | None:
        t, sa = self._store.t, self._store.sa
        table = getattr(t, kind)
        statement = sa.select(table.c.id).where(table.c.name == name)
        if kind != "project":
            statement = statement.join(
                t.project, table.c.project_id == t.project.c.id
            ).where(t.project.c.name == project)
        return connection.execute(statement).scalar()


def _project_of(group: _Group) -> str:
    return group.name if isinstance(group, Project) else group.project


def _key_of(group: _Group) -> str:
    """Returns how the journal names a group."""
    if isinstance(group, Project):
        return group.name
    return f"{group.project}/{group.name}"
