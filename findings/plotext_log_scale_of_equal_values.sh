#!/usr/bin/env bash
# plotext 6.1.0: a constant curve on a log scale.
# Guess: a horizontal line, as of different values, and as on the linear scale.
# Seen: drawn if the value is above 1; at 1 or below, `build` raises `ValueError: math
# domain error`: limits without a height are widened by 1 on either side, to 0 or below,
# before the logarithm is taken. Every curve begins with one value. Taking the logarithms
# oneself, and writing the ticks, helps.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check plotext==6.1.0
cd "$folder"
"$folder/venv/bin/python" - <<'PY'
import plotext


def draw(values):
    figure = plotext.figure
    figure.clear.all()
    figure.plot_size(40, 10)
    figure.ruler(axis="y").scale("log")
    figure.draw(figure.signal([0, 1], values))
    try:
        figure.build().string()
    except ValueError as e:
        return f"ValueError: {e}"
    return "drawn"


seen = {values: draw(list(values)) for values in ((0.5, 0.6), (5.0, 5.0), (0.5, 0.5))}
print(seen)
assert list(seen.values()) == ["drawn", "drawn", "ValueError: math domain error"]
PY
