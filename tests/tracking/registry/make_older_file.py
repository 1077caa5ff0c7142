"""Makes `older_file.sql`: a registry as the first revision of the tables has left it.

Run once, by hand; what later versions make is not what is tested.
"""

from __future__ import annotations

import pathlib
import sqlite3

from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from sqlalchemy import create_engine

from kauldron.tracking.registry import _migrating

FILE = pathlib.Path(__file__).with_name("older_file.sql")

_ROWS = """
INSERT INTO workspace VALUES (1, '0123456789abcdef0123456789abcdef', 8, 1);
INSERT INTO project VALUES (1, 'digits', 'Handwritten digits.', 1700000000.0);
INSERT INTO family VALUES (1, 1, 'nets', '', 1700000000.0);
INSERT INTO experiment VALUES (1, 1, 1, 'wide', '', 1700000000.0);
INSERT INTO run VALUES (7, 1, 'a', '/nowhere/runs/a', 'done', 1, 'host', 100, 100,
  1700000000.0, 1700000100.0, '', 0, 'mark', '{"seed": 3}',
  '{"eval.accuracy": [0.5, 100, 0.75, 50, "max"]}');
INSERT INTO run_tag VALUES (7, 'good');
INSERT INTO parameter VALUES (7, 'seed', 3.0, NULL);
INSERT INTO metric VALUES (7, 'eval.accuracy', 0.5, 0.75, 100, 50);
INSERT INTO dataset VALUES (1, 'digits', '/nowhere/digits.npz', '', 1700000000.0);
INSERT INTO artifact VALUES (1, 'net', 1, '/nowhere/net', 'model', 'staging', 7, '',
  1700000000.0);
"""


def main() -> None:
    engine = create_engine("sqlite://")
    with engine.connect() as connection:
        context = MigrationContext.configure(connection)
        known = _migrating.scripts()
        step = known.get_revision("0001")
        with Operations.context(context):
            step.module.upgrade()
            context.stamp(known, step.revision)
        raw: sqlite3.Connection = connection.connection.driver_connection
        raw.executescript(_ROWS)
        FILE.write_text("\n".join(raw.iterdump()) + "\n")


if __name__ == "__main__":
    main()
