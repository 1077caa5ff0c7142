"""The first tables: groups, runs with their parameters and metrics, artifacts."""

from __future__ import annotations

from typing import Any

from kauldron._base import extras

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Makes the tables."""
    op = extras.load("alembic.op", needed_by="The registry of runs", extra="tracking")
    sa = extras.load("sqlalchemy", needed_by="The registry of runs", extra="tracking")
    _make_groups(op, sa)
    _make_runs(op, sa)
    _make_things(op, sa)


def _text(sa: Any, name: str, default: str = "") -> Any:
    return sa.Column(name, sa.Text, nullable=False, server_default=default)


def _number(sa: Any, name: str, kind: Any = None) -> Any:
    return sa.Column(name, kind or sa.Double, nullable=False, server_default="0")


def _link(sa: Any, to: str, on_removal: str = "CASCADE", **kwargs: Any) -> Any:
    """Returns a column that points to the row of another table."""
    key = sa.ForeignKey(f"{to}.id", ondelete=on_removal)
    kwargs.setdefault("nullable", on_removal != "CASCADE")
    return sa.Column(f"{to}_id", sa.Integer, key, **kwargs)


def _key(sa: Any) -> Any:
    return sa.Column("id", sa.Integer, primary_key=True)


def _make_groups(op: Any, sa: Any) -> None:
    op.create_table(
        "workspace",
        _key(sa),
        _text(sa, "uuid"),
        _number(sa, "next_run", sa.Integer),
        sa.Column("is_whole", sa.Boolean, nullable=False),
    )
    op.create_table(
        "project",
        _key(sa),
        sa.Column("name", sa.Text, nullable=False, unique=True),
        _text(sa, "description"),
        _number(sa, "created"),
    )
    op.create_table(
        "family",
        _key(sa),
        _link(sa, "project"),
        _text(sa, "name"),
        _text(sa, "description"),
        _number(sa, "created"),
        sa.UniqueConstraint("project_id", "name"),
    )
    op.create_table(
        "experiment",
        _key(sa),
        _link(sa, "project"),
        _link(sa, "family", "SET NULL", index=True),
        _text(sa, "name"),
        _text(sa, "description"),
        _number(sa, "created"),
        sa.UniqueConstraint("project_id", "name"),
    )


def _make_runs(op: Any, sa: Any) -> None:
    op.create_table(
        "run",
        _key(sa),
        _link(sa, "experiment", index=True),
        sa.Column("name", sa.Text, nullable=False, index=True),
        sa.Column("workdir", sa.Text, nullable=False, unique=True),
        sa.Column("state", sa.Text, nullable=False, index=True),
        _number(sa, "pid", sa.Integer),
        _text(sa, "host"),
        _number(sa, "step", sa.Integer),
        _number(sa, "num_steps", sa.Integer),
        _number(sa, "started"),
        _number(sa, "heartbeat"),
        _text(sa, "message"),
        sa.Column("archived", sa.Boolean, nullable=False, server_default=sa.false()),
        _text(sa, "mark"),
        _text(sa, "parameters"),
        _text(sa, "metrics"),
    )
    op.create_table(
        "run_tag",
        _link(sa, "run", primary_key=True),
        sa.Column("tag", sa.Text, primary_key=True, index=True),
    )
    op.create_table(
        "parameter",
        _link(sa, "run", primary_key=True),
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("number", sa.Double),
        sa.Column("text", sa.Text),
        sa.Index("parameter_by_number", "name", "number", "run_id"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "metric",
        _link(sa, "run", primary_key=True),
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("last", sa.Double),
        sa.Column("best", sa.Double),
        sa.Column("last_step", sa.BigInteger, nullable=False),
        sa.Column("best_step", sa.BigInteger, nullable=False),
        sa.Index("metric_by_last", "name", "last", "run_id"),
        sa.Index("metric_by_best", "name", "best", "run_id"),
        sqlite_with_rowid=False,
    )


def _make_things(op: Any, sa: Any) -> None:
    op.create_table(
        "dataset",
        _key(sa),
        sa.Column("name", sa.Text, nullable=False, unique=True),
        _text(sa, "path"),
        _text(sa, "description"),
        _number(sa, "created"),
    )
    op.create_table(
        "artifact",
        _key(sa),
        _text(sa, "name"),
        sa.Column("version", sa.Integer, nullable=False),
        _text(sa, "path"),
        _text(sa, "kind"),
        _text(sa, "stage", "draft"),
        _link(sa, "run", "SET NULL", index=True),
        _text(sa, "description"),
        _number(sa, "created"),
        sa.UniqueConstraint("name", "version"),
    )
