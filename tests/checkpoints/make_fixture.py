"""Writes the fixture of this release: `python -m tests.checkpoints.make_fixture`.

One is added when a release is made, and none is changed afterwards.
"""

from __future__ import annotations

import importlib.metadata
import pathlib
import shutil

from kauldron import kd
from tests.train import small_run


def main() -> None:
    release = importlib.metadata.version("kauldron")
    workdir = pathlib.Path(__file__).parent / "fixtures" / release
    shutil.rmtree(workdir, ignore_errors=True)
    checkpointer = kd.ckpts.Checkpointer(
        save_interval_steps=100, never_save_step_zero=True
    )
    small_run.make_trainer(
        workdir, num_train_steps=2, writer=None, checkpointer=checkpointer
    ).train()
    for path in list(workdir.iterdir()):
        if path.name != "checkpoints":
            path.unlink()
    for path in workdir.rglob("commit_success.txt"):
        path.unlink()  # it tells where the run was, and is not read


if __name__ == "__main__":
    main()
