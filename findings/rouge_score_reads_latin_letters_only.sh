#!/usr/bin/env bash
# rouge-score 0.1.2: a text compared with itself, in other scripts.
# Guess: 1.
# Seen: 0 for Chinese (and any script but a to z and digits): the default tokenizer cuts
# everything else. "Übung" and "bung" are the same word. A tokenizer can be passed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check rouge-score==0.1.2 numpy==2.4.6
cd "$folder"
JAX_PLATFORMS=cpu "$folder/venv/bin/python" - <<'PY'
from rouge_score import rouge_scorer

scorer = rouge_scorer.RougeScorer(["rouge1"])
chinese = scorer.score("猫坐在垫子上", "猫坐在垫子上")["rouge1"].fmeasure
umlaut = scorer.score("Übung", "bung")["rouge1"].fmeasure
print("with itself", chinese, "two different words", umlaut)
assert chinese == 0 and umlaut == 1
PY
