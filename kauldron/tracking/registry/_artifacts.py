"""Artifacts: versions of what runs have made, and how far each is trusted."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Iterable, Mapping
from typing import Any, cast

from kauldron._base import errors, shared_files
from kauldron.tracking.registry import _journal, _named, _run_rows
from kauldron.tracking.registry.errors import RegistryError
from kauldron.tracking.registry.records import STAGES, Artifact, Run, Stage

_KIND = "artifact"
_PRODUCTION: Stage = "production"
_ARCHIVED: Stage = "archived"
_FIELDS = ("path", "kind", "stage", "run", "description", "created")


class Artifacts:
    """The artifacts of a registry: `registry.artifact_table`.

    Args:
      store: Where they are kept.
    """

    def __init__(self, store: _named.Store) -> None:
        self._store = store

    def list(self) -> list[Artifact]:
        """Returns the artifacts by name and version."""
        tags: dict[int, list[str]] = {}
        for key, word in self._store.rows("SELECT artifact_id, tag FROM artifact_tag"):
            tags.setdefault(key, []).append(word)
        names = ("name", "version", "path", "kind", "stage", "description", "created")
        rows = self._store.rows(
            f"SELECT id, run_id, {', '.join(names)} FROM artifact ORDER BY name, version"
        )
        return [
            Artifact(
                tags=tuple(sorted(tags.get(key, ()))),
                run=_run_rows.id_of(run) if run else "",
                **dict(zip(names, fields, strict=True)),
            )
            for key, run, *fields in rows
        ]

    def find(self, name: str) -> Artifact:
        """Returns an artifact.

        Args:
          name: `digits@3`, or `digits`: the one in production, else the newest.

        Raises:
          RegistryError: If there is none; names the nearest.
        """
        called, at, version = name.partition("@")
        known = self.list()
        versions = [x for x in known if x.name == called]
        if not versions:
            raise _named.missing(_KIND, called, [x.name for x in known])
        if not at:
            in_production = [x for x in versions if x.stage == _PRODUCTION]
            return (in_production or versions)[-1]
        found = [x for x in versions if str(x.version) == version]
        if not found:
            listed = ", ".join(str(x.version) for x in versions)
            raise RegistryError(
                f"The artifact {called!r} has no version {version!r}: it has {listed}."
            )
        return found[0]

    def create(
        self,
        name: str,
        path: str,
        *,
        kind: str = "model",
        run: Run | None = None,
        tags: Iterable[str] = (),
        description: str = "",
    ) -> Artifact:
        """Enters the next version of an artifact; its files stay where they are.

        Args:
          name: What its versions have in common.
          path: A file, a folder or a URL.
          kind: Such as `model`, `export`, `report`.
          run: The run that made it.
          tags: Words by which it is found.
          description: What it is.

        Raises:
          RegistryError: If there is no such file.
        """
        _named.check_name(_KIND, name)
        place = path if shared_files.is_remote(path) else os.path.abspath(path)
        if not shared_files.is_remote(path) and not os.path.exists(place):
            raise RegistryError(f"The artifact {name!r}: there is no {place!r}.")
        table, sa = self._store.t.artifact, self._store.sa
        kept = self._store.journal.read()

        def work(connection: Any) -> Artifact:
            last = sa.select(sa.func.max(table.c.version)).where(table.c.name == name)
            # A version that was removed is not given again.
            given = [
                _split(key)[1]
                for k, key in kept
                if k == _KIND and _split(key)[0] == name
            ]
            version = 1 + max([connection.execute(last).scalar() or 0, *given])
            artifact = Artifact(
                name=name,
                version=version,
                path=place,
                kind=kind,
                tags=tuple(sorted(set(tags))),
                run=run.id if run else "",
                description=description,
                created=time.time(),
            )
            self._write(connection, artifact)
            return artifact

        return self._store.database.write(work)

    def promote(
        self, name: str, to: str | None = None
    ) -> tuple[Artifact, list[Artifact]]:
        """Moves an artifact to another stage, the next one unless that is given.

        Of a name, one version at most is in production: one that was is archived.

        Args:
          name: `digits@3`, or `digits`: the newest version that is not archived.
          to: `draft`, `staging`, `production` or `archived`.

        Returns:
          The artifact as it is now, and those that were archived.

        Raises:
          RegistryError: If there is no such artifact, or stage, or no next stage.
        """
        artifact = self.find(name) if "@" in name else self._newest(name)
        stage = _next(artifact) if to is None else _checked(to)

        def work(connection: Any) -> tuple[Artifact, list[Artifact]]:
            replaced = []
            if stage == _PRODUCTION:
                replaced = [
                    _with(other, stage=_ARCHIVED)
                    for other in self.list()
                    if (other.name, other.stage) == (artifact.name, _PRODUCTION)
                    and other.version != artifact.version
                ]
            promoted = _with(artifact, stage=stage)
            for changed in (*replaced, promoted):
                self._write(connection, changed)
            return promoted, replaced

        return self._store.database.write(work)

    def remove(self, name: str) -> Artifact:
        """Forgets one version of an artifact; its files stay.

        Args:
          name: `digits@3`.

        Raises:
          RegistryError: If there is no such artifact, or no version is given.
        """
        if "@" not in name:
            known = [x for x in self.list() if x.name == name]
            if known:
                listed = ", ".join(f"{name}@{x.version}" for x in known)
                raise RegistryError(f"Say which version: {listed}.")
        artifact = self.find(name)
        table = self._store.t.artifact

        def work(connection: Any) -> None:
            connection.execute(table.delete().where(_is(table, artifact)))
            self._store.journal.append([_journal.Entry(_KIND, _key(artifact), None)])

        self._store.database.write(work)
        return artifact

    def restore(self, entries: Mapping[tuple[str, str], Any]) -> None:
        """Enters what the journal has."""

        def work(connection: Any) -> None:
            for (kind, key), fields in entries.items():
                if kind == _KIND and fields is not None:
                    name, version = _split(key)
                    tags = tuple(fields.get("tags", ()))
                    known = {x: fields[x] for x in _FIELDS if x in fields}
                    self._enter(
                        connection,
                        Artifact(name=name, version=version, tags=tags, **known),
                    )

        self._store.database.write(work)

    def _newest(self, name: str) -> Artifact:
        known = self.list()
        versions = [x for x in known if x.name == name and x.stage != _ARCHIVED]
        if versions:
            return versions[-1]
        return self.find(name)  # all are archived, or there is none

    def _write(self, connection: Any, artifact: Artifact) -> None:
        self._enter(connection, artifact)
        fields = {x: getattr(artifact, x) for x in _FIELDS}
        fields["tags"] = list(artifact.tags)
        entry = _journal.Entry(_KIND, _key(artifact), fields)
        self._store.journal.append([entry])

    def _enter(self, connection: Any, artifact: Artifact) -> None:
        sa, t = self._store.sa, self._store.t
        table, tag = t.artifact, t.artifact_tag
        connection.execute(table.delete().where(_is(table, artifact)))
        number = _run_rows.number_of(artifact.run) if artifact.run else None
        found = sa.select(t.run.c.id).where(t.run.c.id == number)
        values = {x: getattr(artifact, x) for x in _FIELDS if x != "run"}
        values |= {
            "name": artifact.name,
            "version": artifact.version,
            # Of a run that was forgotten nothing is known.
            "run_id": connection.execute(found).scalar(),
        }
        key = connection.execute(table.insert().values(**values)).inserted_primary_key[
            0
        ]
        for word in artifact.tags:
            connection.execute(tag.insert().values(artifact_id=key, tag=word))


def _is(table: Any, artifact: Artifact) -> Any:
    return (table.c.name == artifact.name) & (table.c.version == artifact.version)


def _key(artifact: Artifact) -> str:
    """Returns how people, and the journal, name a version."""
    return f"{artifact.name}@{artifact.version}"


def _split(key: str) -> tuple[str, int]:
    name, _, version = key.rpartition("@")
    return name, int(version)


def _with(artifact: Artifact, **changes: Any) -> Artifact:
    return dataclasses.replace(artifact, **changes)


def _next(artifact: Artifact) -> Stage:
    position = STAGES.index(artifact.stage) + 1
    if position == len(STAGES):
        raise RegistryError(
            f"{_key(artifact)} is {artifact.stage}, which is the last stage: say where to, "
            "with `--to=staging`."
        )
    return STAGES[position]


def _checked(stage: str) -> Stage:
    if stage not in STAGES:
        near = errors.did_you_mean(stage, STAGES)
        raise RegistryError(
            f"There is no stage {stage!r}: stages are {', '.join(STAGES)}.{near}"
        )
    return cast(Stage, stage)
