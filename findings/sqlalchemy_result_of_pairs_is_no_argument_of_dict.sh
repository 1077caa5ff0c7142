#!/usr/bin/env bash
# sqlalchemy 2.1.9: a dict of the two columns that a statement selects.
# Guess: `dict(connection.execute(select(id, name)))` is a dict from id to name, as iterating
# over the result gives pairs; linters propose to write a comprehension over it like that.
# Seen: TypeError, "'CursorResult' object is not subscriptable". A result has a method
# `keys()`, the names of its columns, so that `dict` takes it for a mapping. With `.all()`
# it works.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check sqlalchemy==2.1.9
"$folder/venv/bin/python" - <<'PY'
import sqlalchemy as sa

pairs = sa.text("SELECT 1, 'a' UNION SELECT 2, 'b'")
with sa.create_engine("sqlite://").connect() as connection:
    print("pairs:", [(number, name) for number, name in connection.execute(pairs)])
    print("dict of all():", dict(connection.execute(pairs).all()))
    try:
        print("dict:", dict(connection.execute(pairs)))
    except TypeError as e:
        print("dict: TypeError:", e)
    else:
        raise SystemExit(1)
    assert dict(connection.execute(pairs).all()) == {1: "a", 2: "b"}
PY
