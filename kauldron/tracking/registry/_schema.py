"""The tables of the registry, as the newest migration leaves them."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

from kauldron._base import extras

# The migration that makes these tables out of older ones.
REVISION = "0002"


class Tables(NamedTuple):
    """The tables, SQLAlchemy's.

    Attributes:
      metadata: All of them.
      workspace: One row: who this is, the number of the next run.
      project: Groups of families and experiments.
      family: Groups of experiments.
      experiment: Groups of runs.
      run: One row a run, with what is shown of it.
      run_tag: Words by which runs are found.
      parameter: Values of configs, to search in.
      metric: Last and best values, to search in.
      dataset: Data under a name.
      artifact: Versions of what runs have made.
      artifact_tag: Words by which artifacts are found.
    """

    metadata: Any
    workspace: Any
    project: Any
    family: Any
    experiment: Any
    run: Any
    run_tag: Any
    parameter: Any
    metric: Any
    dataset: Any
    artifact: Any
    artifact_tag: Any


@functools.cache
def tables() -> Tables:
    """Returns the tables."""
    sa = extras.load("sqlalchemy", needed_by="The registry of runs", extra="tracking")
    metadata = sa.MetaData()
    groups = _groups(sa, metadata)
    return Tables(
        metadata,
        *groups,
        *_runs(sa, metadata),
        *_things(sa, metadata),
    )


def _text(sa: Any, name: str) -> Any:
    return sa.Column(name, sa.Text, nullable=False, server_default="")


def _number(sa: Any, name: str) -> Any:
    return sa.Column(name, sa.Double, nullable=False, server_default="0")


def _count(sa: Any, name: str) -> Any:
    return sa.Column(name, sa.Integer, nullable=False, server_default="0")


def _key(sa: Any) -> Any:
    return sa.Column("id", sa.Integer, primary_key=True)


def _of(sa: Any, table: str, *, is_required: bool = True, **kwargs: Any) -> Any:
    """Returns a column that points to another table, and goes with what it points to."""
    link = sa.ForeignKey(
        f"{table}.id", ondelete="CASCADE" if is_required else "SET NULL"
    )
    return sa.Column(f"{table}_id", link, nullable=not is_required, **kwargs)


def _described(sa: Any) -> tuple[Any, Any]:
    return _text(sa, "description"), _number(sa, "created")


def _groups(sa: Any, metadata: Any) -> tuple[Any, ...]:
    return (
        sa.Table(
            "workspace",
            metadata,
            _key(sa),
            _text(sa, "uuid"),
            _count(sa, "next_run"),
            # Whether everything is there that is kept beside the database.
            sa.Column("is_whole", sa.Boolean, nullable=False),
        ),
        sa.Table(
            "project",
            metadata,
            _key(sa),
            sa.Column("name", sa.Text, nullable=False, unique=True),
            *_described(sa),
        ),
        sa.Table(
            "family",
            metadata,
            _key(sa),
            _of(sa, "project"),
            _text(sa, "name"),
            *_described(sa),
            sa.UniqueConstraint("project_id", "name"),
        ),
        sa.Table(
            "experiment",
            metadata,
            _key(sa),
            _of(sa, "project"),
            _of(sa, "family", is_required=False, index=True),
            _text(sa, "name"),
            *_described(sa),
            sa.UniqueConstraint("project_id", "name"),
        ),
    )


def _runs(sa: Any, metadata: Any) -> tuple[Any, ...]:
    run = sa.Table(
        "run",
        metadata,
        _key(sa),
        _of(sa, "experiment", index=True),
        sa.Column("name", sa.Text, nullable=False, index=True),
        sa.Column("workdir", sa.Text, nullable=False, unique=True),
        sa.Column("state", sa.Text, nullable=False, index=True),
        _count(sa, "pid"),
        _text(sa, "host"),
        _count(sa, "step"),
        _count(sa, "num_steps"),
        _number(sa, "started"),
        _number(sa, "heartbeat"),
        _text(sa, "message"),
        sa.Column("archived", sa.Boolean, nullable=False, server_default=sa.false()),
        # Which files it was read from, as they were then.
        _text(sa, "mark"),
        # All parameters and metrics once more, as JSON: a list of 10,000 runs is read
        # four times as fast as from half a million rows.
        _text(sa, "parameters"),
        _text(sa, "metrics"),
    )
    run_tag = sa.Table(
        "run_tag",
        metadata,
        _of(sa, "run", primary_key=True),
        sa.Column("tag", sa.Text, primary_key=True, index=True),
    )
    parameter = sa.Table(
        "parameter",
        metadata,
        _of(sa, "run", primary_key=True),
        sa.Column("name", sa.Text, primary_key=True),
        # Of a number or a flag; of a text, `text` has it.
        sa.Column("number", sa.Double),
        sa.Column("text", sa.Text),
        sa.Index("parameter_by_number", "name", "number", "run_id"),
        sqlite_with_rowid=False,
    )
    metric = sa.Table(
        "metric",
        metadata,
        _of(sa, "run", primary_key=True),
        sa.Column("name", sa.Text, primary_key=True),
        # Empty if it is not a number.
        sa.Column("last", sa.Double),
        sa.Column("best", sa.Double),
        sa.Column("last_step", sa.BigInteger, nullable=False),
        sa.Column("best_step", sa.BigInteger, nullable=False),
        sa.Index("metric_by_last", "name", "last", "run_id"),
        sa.Index("metric_by_best", "name", "best", "run_id"),
        sqlite_with_rowid=False,
    )
    return run, run_tag, parameter, metric


def _things(sa: Any, metadata: Any) -> tuple[Any, ...]:
    dataset = sa.Table(
        "dataset",
        metadata,
        _key(sa),
        sa.Column("name", sa.Text, nullable=False, unique=True),
        _text(sa, "path"),
        _text(sa, "fingerprint"),
        _text(sa, "description"),
        _number(sa, "created"),
    )
    artifact = sa.Table(
        "artifact",
        metadata,
        _key(sa),
        _text(sa, "name"),
        sa.Column("version", sa.Integer, nullable=False),
        _text(sa, "path"),
        _text(sa, "kind"),
        sa.Column("stage", sa.Text, nullable=False, server_default="draft"),
        _of(sa, "run", is_required=False, index=True),
        _text(sa, "description"),
        _number(sa, "created"),
        sa.UniqueConstraint("name", "version"),
    )
    artifact_tag = sa.Table(
        "artifact_tag",
        metadata,
        _of(sa, "artifact", primary_key=True),
        sa.Column("tag", sa.Text, primary_key=True),
    )
    return dataset, artifact, artifact_tag
