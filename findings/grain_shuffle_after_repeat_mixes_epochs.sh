#!/usr/bin/env bash
# grain 0.2.18: the first ten elements of `MapDataset.range(10).repeat().shuffle(seed=42)`.
# Guess: a permutation of 0 to 9, or an error, since the repeated data set has no end.
# Seen: a sample with repetitions: elements are drawn across epochs. Besides,
# `.shuffle(seed=42)` and `.seed(42).shuffle()` are different orders.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check grain==0.2.18 numpy==2.4.6
cd "$folder"
JAX_PLATFORMS=cpu "$folder/venv/bin/python" - <<'PY'
import grain

mixed = grain.MapDataset.range(10).repeat().shuffle(seed=42)
first = [int(mixed[i]) for i in range(10)]
one = list(grain.MapDataset.range(10).shuffle(seed=42))
other = list(grain.MapDataset.range(10).seed(42).shuffle())
print("first ten", first, "shuffle(seed=42)", one, "seed(42).shuffle()", other)
assert len(set(first)) < 10 and one != other
PY
