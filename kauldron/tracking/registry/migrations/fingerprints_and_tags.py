"""Datasets have a fingerprint, artifacts have tags."""

from __future__ import annotations

from kauldron._base import extras

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Adds a column and a table."""
    op = extras.load("alembic.op", needed_by="The registry of runs", extra="tracking")
    sa = extras.load("sqlalchemy", needed_by="The registry of runs", extra="tracking")
    op.add_column(
        "dataset",
        sa.Column("fingerprint", sa.Text, nullable=False, server_default=""),
    )
    op.create_table(
        "artifact_tag",
        sa.Column(
            "artifact_id",
            sa.Integer,
            sa.ForeignKey("artifact.id", ondelete="CASCADE"),
            primary_key=True,
        ),
        sa.Column("tag", sa.Text, primary_key=True),
    )
