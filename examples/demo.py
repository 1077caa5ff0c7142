"""What `make demo` runs: trains the digits classifier and says how good it became."""

from __future__ import annotations

import json
import pathlib
import sys
import time

from kauldron import main as kauldron_main

CONFIG = "examples/digits_classifier.py"
WORKDIR = pathlib.Path("runs/digits_demo")


def main() -> int:
    """Trains, prints the held-out accuracy, and what to try next."""
    start = time.perf_counter()
    exit_code = kauldron_main.main(
        ["demo", f"--cfg={CONFIG}", f"--cfg.workdir={WORKDIR}", *sys.argv[1:]]
    )
    if exit_code:
        return exit_code
    print(f"\nTook {time.perf_counter() - start:.0f} s.")
    print(f"held-out accuracy: {held_out_accuracy(WORKDIR):.4f}")
    print(f"(logistic regression on the same split: {logistic_regression():.4f})")
    print(f"workdir: {WORKDIR}")
    print(
        f"\nTry next:\n"
        f"  .venv/bin/kauldron train --cfg={CONFIG} --cfg.workdir=runs/wider "
        "--cfg.aux.num_features=64\n"
        f"  .venv/bin/tensorboard --logdir=runs"
    )
    return 0


def held_out_accuracy(workdir: pathlib.Path) -> float:
    """Returns the accuracy of the last evaluation of a run."""
    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    evaluations = [r for r in records if r["collection"] == "eval"]
    return max(evaluations, key=lambda r: r["step"])["metrics/accuracy"]


def logistic_regression() -> float:
    """Returns the accuracy of scikit-learn's logistic regression on the same split."""
    from sklearn import linear_model

    from examples import digits_data

    def flatten(split: str):
        digits = digits_data.Digits(split=split)
        elements = [digits[i] for i in range(len(digits))]
        images = [e["image"].ravel() / 16 for e in elements]
        return images, [e["label"] for e in elements]

    model = linear_model.LogisticRegression(max_iter=1000).fit(*flatten("train"))
    return model.score(*flatten("test"))


if __name__ == "__main__":
    sys.exit(main())
