#!/usr/bin/env bash
# grain 0.2.18: epochs of `RepeatIterDataset` against those of `MapDataset.repeat`.
# Guess: both shuffle each epoch anew.
# Seen: `RepeatIterDataset` gives the same order (and the same random augmentations) in every
# epoch; `MapDataset.repeat` does not.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check grain==0.2.18 numpy==2.4.6
cd "$folder"
JAX_PLATFORMS=cpu "$folder/venv/bin/python" - <<'PY'
import grain

shuffled = grain.MapDataset.range(6).seed(1).shuffle()
iterated = list(grain.experimental.RepeatIterDataset(shuffled.to_iter_dataset(), num_epochs=2))
mapped = list(shuffled.repeat(2))
print("RepeatIterDataset", iterated, "MapDataset.repeat", mapped)
assert iterated[:6] == iterated[6:] and mapped[:6] != mapped[6:]
PY
