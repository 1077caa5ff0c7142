"""`Registry`: the index over the workdirs of a workspace."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any, Self

from etils import epath

from kauldron._base import console
from kauldron.tracking.registry import (
    _artifacts,
    _database,
    _datasets,
    _groups,
    _indexing,
    _journal,
    _named,
    _notes,
    _places,
    _queries,
    _reading,
    _run_store,
    _workdir_facts,
    workspaces,
)
from kauldron.tracking.registry.errors import RegistryError
from kauldron.tracking.registry.records import (
    Artifact,
    Curve,
    Dataset,
    Experiment,
    Family,
    IndexReport,
    Project,
    Run,
)
from kauldron.workdir import workdirs


class Registry:
    """The index over the workdirs of a workspace.

    Made by `open`. It may be used by many threads and processes at once.

    Attributes:
      group_table: Projects, families and experiments, to be changed.
      dataset_table: Datasets, to be changed.
      artifact_table: Artifacts, to be changed.
      place: Path or URL of the database, as it is shown.
      project: Of runs that name none.
    """

    def __init__(
        self,
        database: _database.Database,
        root: epath.Path | None,
        defaults: _indexing.Defaults,
    ) -> None:
        self._database = database
        journal = _journal.Journal(workspaces.journal_path(database.path, root))
        is_shared = database.path is None  # others may have another root
        places = _places.Places(None if is_shared else root)
        self._store = _run_store.RunStore(database, journal, places, defaults)
        self.place = database.shown_place
        self.project = defaults.project
        named = _named.Store(database, journal)
        self.group_table = _groups.Groups(named, self._store.forget)
        self.dataset_table = _datasets.Datasets(named)
        self.artifact_table = _artifacts.Artifacts(named)
        if not database.is_read_only and not self._store.is_whole:
            self._restore(journal)

    def _restore(self, journal: _journal.Journal) -> None:
        """Makes a database anew that was deleted."""
        kept = journal.read()
        self.group_table.restore(kept)
        report = self._store.index(self._store.kept_workdirs())
        self.dataset_table.restore(kept)
        self.artifact_table.restore(kept)
        self._store.become_whole()
        console.log(f"The registry {self.place} was made anew. {report.describe()}")

    @classmethod
    def open(
        cls, path_or_url: epath.PathLike | None = None, *, read_only: bool = False
    ) -> Self:
        """Opens a registry; a database that does not exist is made.

        If it was deleted, it is made anew: from what is kept beside it, and the workdirs.

        Args:
          path_or_url: A folder that is a workspace, the path of a SQLite file, or a URL
            such as `postgresql://user@host/runs`. Unless given, the workspace that is
            found upwards of the current folder.
          read_only: Whether nothing may be changed.

        Raises:
          RegistryError: If there is no workspace, or the database cannot be used.
        """
        defaults = _indexing.Defaults()
        root = None
        if path_or_url is None or workspaces.is_workspace(path_or_url):
            workspace = workspaces.opened(path_or_url)
            for problem in workspace.settings.problems():
                console.warn(problem)
            root, place = workspace.root, workspace.database
            if "://" not in place:
                place = os.fspath(root / place)
            if place == os.fspath(workspace.default_database):
                workspace.folder.mkdir(exist_ok=True)
            defaults = _indexing.Defaults(
                project=str(workspace.settings.get("project")),
                experiment=str(workspace.settings.get("experiment") or ""),
            )
        else:
            place = os.fspath(path_or_url)
            if os.path.isdir(place):
                raise RegistryError(
                    f"{place!r} is no workspace: `kauldron init {place}` makes it one."
                )
        database = _database.Database(place, read_only=read_only)
        return cls(database, root, defaults)

    def close(self) -> None:
        """Closes the connections to the database."""
        self._database.close()

    def runs(
        self,
        where: str | None = None,
        sort: str | None = None,
        project: str | None = None,
        experiment: str | None = None,
        archived: bool = False,
        limit: int | None = None,
    ) -> list[Run]:
        """Returns runs as they stand now.

        Args:
          where: A filter, such as `eval.accuracy > 0.9 and 'good' in tags`.
          sort: Names with commas between, such as `-eval.accuracy,id`: `-` for the
            largest first. Runs without a value come last. By id unless given.
          project: Only of this project.
          experiment: Only of this experiment.
          archived: Whether archived ones are there, too; they are as well if the filter
            speaks of `archived`.
          limit: At most so many.

        Raises:
          FilterError: If a filter or an order cannot be understood.
          RegistryError: If there is no such project or experiment.
        """
        self._store.refresh()
        with self._database.reading() as reader:
            search = _queries.Search(reader)
            for kind, name in (("project", project), ("experiment", experiment)):
                if name is not None:
                    self._check_group(reader, kind, name)
                    search.only(kind, name)
            names = [] if where is None else search.filter(where)
            if not archived and "archived" not in names:
                search.only("archived", False)
            search.sort(sort or "id")
            search.take(limit)
            return self._store.fetch(reader, search)

    def check_names(self, names: Iterable[str]) -> None:
        """Makes sure that runs have these fields, metrics or parameters.

        Raises:
          FilterError: If no run has one of them; says the nearest.
        """
        with self._database.reading() as reader:
            _queries.Search(reader).check(names)

    def runs_of(self, group: Project | Family | Experiment) -> list[Run]:
        """Returns the runs of a project, a family or an experiment."""
        if isinstance(group, Project):
            return self.runs(project=group.name)
        runs = self.runs(project=group.project)
        kind = "family" if isinstance(group, Family) else "experiment"
        return [run for run in runs if getattr(run, kind) == group.name]

    def config_file(self, run: Run) -> str:
        """Returns the path of the config of a run.

        Raises:
          RegistryError: If its workdir is gone.
        """
        self._check_workdir(run)
        return os.path.join(run.workdir, workdirs.CONFIG_FILE)

    def _check_workdir(self, run: Run) -> None:
        if not _places.exists(run.workdir):
            raise RegistryError(
                f"The workdir {run.workdir!r} of {run.id} is gone. Where it was moved, "
                f"`kauldron runs index` finds it; `kauldron runs rm {run.id}` forgets it."
            )

    def _check_group(self, reader: _reading.Reader, kind: str, name: str) -> None:
        known = [found for (found,) in reader.rows(f"SELECT name FROM {kind}")]
        if name not in known:
            raise _named.missing(kind, name, known)

    def run(self, name: str) -> Run:
        """Returns a run.

        Args:
          name: `run_0012`, `12`, a workdir, or a name or the end of a workdir that one run
            alone has.

        Raises:
          RegistryError: If there is no such run; names the nearest.
        """
        self._store.refresh()
        with self._database.reading() as reader:
            search = _queries.Search(reader)
            search.only("id", self._store.number(reader, name))
            [run] = self._store.fetch(reader, search)
            return run

    def curve(self, run: Run | str, metric: str) -> Curve:
        """Returns the values of a metric over the steps of a run.

        Args:
          run: The run, or what `run` takes.
          metric: `eval.accuracy`: collection, name.

        Raises:
          RegistryError: If its workdir is gone.
          MetricError: If it has not measured this; names the nearest.
        """
        run = self.run(run) if isinstance(run, str) else run
        self._check_workdir(run)
        return _workdir_facts.read_curve(run.workdir, metric)

    def index(self, folder: epath.PathLike | None = None) -> IndexReport:
        """Brings the registry up to date with the workdirs in and below a folder.

        Files that have not changed since are not read again.

        Args:
          folder: The folder; all known workdirs unless given.

        Raises:
          RegistryError: If there is no such folder.
        """
        if folder is None:
            return self._store.index(None)
        path = os.path.abspath(folder)
        if not os.path.isdir(path):
            raise RegistryError(f"There is no folder {os.fspath(folder)!r}.")
        return self._store.index(_workdir_facts.find(path), inside=path)

    def register(
        self,
        workdir: epath.PathLike,
        *,
        name: str = "",
        project: str = "",
        family: str = "",
        experiment: str = "",
        tags: Iterable[str] = (),
    ) -> Run:
        """Enters the run of a workdir, or brings it up to date; returns it.

        Args:
          workdir: Of the run, which has written its status, or its config.
          name: How it is called; as it was, or as the folder is, unless given.
          project: Its project; as it was, or that of the settings, unless given.
          family: Its family; as it was, or none, unless given.
          experiment: Its experiment; as it was, or that of the settings, unless given.
          tags: Words by which it is found, besides those that it has.

        Raises:
          RegistryError: If there is no run, or the registry is read-only.
        """
        path = _places.absolute(workdir)
        if not _workdir_facts.mark_of(path):
            raise RegistryError(f"{os.fspath(workdir)!r} is no workdir of a run.")
        said = {
            "name": name,
            "project": project,
            "family": family,
            "experiment": experiment,
        }
        changes: dict[str, Any] = {k: v for k, v in said.items() if v}
        before = _notes.read(path) or _notes.Notes()
        if not set(tags) <= set(before.tags):
            changes["tags"] = tuple(dict.fromkeys((*before.tags, *tags)))
        if changes:
            self._store.note(path, before, **changes)
        self._store.read(path, again=bool(changes))
        return self.run(path)

    def change(
        self,
        run: Run | str,
        *,
        name: str | None = None,
        project: str | None = None,
        family: str | None = None,
        experiment: str | None = None,
        add_tags: Iterable[str] = (),
        remove_tags: Iterable[str] = (),
        archived: bool | None = None,
    ) -> Run:
        """Changes what is said of a run, in its workdir and here; returns it.

        Args:
          run: The run, or what `run` takes.
          name: How it is called from now on.
          project: Where it belongs from now on.
          family: Likewise.
          experiment: Likewise.
          add_tags: Words by which it is found, too.
          remove_tags: Words that it no longer has.
          archived: Whether lists leave it out.

        Raises:
          RegistryError: If there is no such run, nothing can be called so, or the
            registry is read-only.
        """
        run = self.run(run) if isinstance(run, str) else run
        for kind, group in (
            ("project", project),
            ("family", family),
            ("experiment", experiment),
        ):
            if group is not None:
                _named.check_name(kind, group)
        removed, add_tags = set(remove_tags), _named.check_tags(add_tags)
        tags = tuple(
            t for t in dict.fromkeys((*run.tags, *add_tags)) if t not in removed
        )
        given = {
            "name": name,
            "project": project,
            "family": family,
            "experiment": experiment,
            "archived": archived,
            "tags": tags if tags != run.tags else None,
        }
        changes = {field: value for field, value in given.items() if value is not None}
        self._store.note(run.workdir, self._store.notes_of(run), **changes)
        self._store.rewrite(run)
        return self.run(run.id)

    def remove(self, run: Run | str, *, with_files: bool = False) -> Run:
        """Forgets a run; its number is not given again. Returns what it was.

        Args:
          run: The run, or what `run` takes.
          with_files: Whether its workdir is deleted, too.

        Raises:
          RegistryError: If there is no such run, or a process is at it.
        """
        run = self.run(run) if isinstance(run, str) else run
        self._store.remove(run, with_files=with_files)
        return run

    def projects(self) -> list[Project]:
        """Returns the projects by name."""
        return self.group_table.projects()

    def families(self) -> list[Family]:
        """Returns the families by project and name."""
        return self.group_table.families()

    def experiments(self) -> list[Experiment]:
        """Returns the experiments by project and name."""
        return self.group_table.experiments()

    def datasets(self) -> list[Dataset]:
        """Returns the datasets by name."""
        return self.dataset_table.list()

    def artifacts(self) -> list[Artifact]:
        """Returns the artifacts by name and version."""
        return self.artifact_table.list()
