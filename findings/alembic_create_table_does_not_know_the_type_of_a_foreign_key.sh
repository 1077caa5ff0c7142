#!/usr/bin/env bash
# alembic 1.20.1, sqlalchemy 2.1.9, SQLite: a column that gives a foreign key and no type.
# Guess: it has the type of the column that it points to, as SQLAlchemy documents it, and as
# `MetaData.create_all` makes it; the table that it points to was made by the same upgrade.
# Seen: `op.create_table` raises CompileError, "Can't generate DDL for NullType()": each
# table is made in a MetaData of its own, where the other one is a stub without types. Of
# what works in a model, a migration has to name the type.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check alembic==1.20.1 sqlalchemy==2.1.9
"$folder/venv/bin/python" - <<'PY'
import sqlalchemy as sa
from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext


def columns(*of_child):
    parent = [sa.Column("id", sa.Integer, primary_key=True)]
    return parent, [sa.Column("id", sa.Integer, primary_key=True), *of_child]


def link(*types):
    return sa.Column("parent_id", *types, sa.ForeignKey("parent.id"))


metadata = sa.MetaData()
for name, cells in zip(("parent", "child"), columns(link()), strict=True):
    sa.Table(name, metadata, *cells)
with sa.create_engine("sqlite://").connect() as connection:
    metadata.create_all(connection)
    print("create_all:", sa.inspect(connection).get_columns("child")[1]["type"])
failed = []
for types in ((), (sa.Integer,)):
    with sa.create_engine("sqlite://").connect() as connection:
        op = Operations(MigrationContext.configure(connection))
        parent, child = columns(link(*types))
        op.create_table("parent", *parent)
        try:
            op.create_table("child", *child)
        except sa.exc.CompileError as e:
            failed.append(types)
            print("create_table without a type:", str(e).splitlines()[0])
        else:
            print("create_table with a type: made")
assert failed == [()]
PY
