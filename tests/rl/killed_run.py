"""`python -m tests.rl.killed_run WORKDIR [ROLLOUT]`: the small run, killed in a rollout."""

from __future__ import annotations

import itertools
import os
import signal
import sys
from typing import Any

from kauldron import kd
from tests.rl import small_run

_LAST: dict[str, Any] = {"rollouts": itertools.count(1), "kill_at": None}


class KillsOnce(kd.rl.Reward):
    """A reward of 0, in whose midst the process ends."""

    def values(self, answers: Any) -> list[float]:
        if next(_LAST["rollouts"]) == _LAST["kill_at"]:
            os.kill(os.getpid(), signal.SIGKILL)
        return [0.0] * len(answers)


def main() -> None:
    workdir, *number = sys.argv[1:]
    _LAST["kill_at"] = int(number[0]) if number else None
    vowels = kd.rl.FunctionReward(function=small_run.share_of_vowels)
    ds = small_run.make_ds(
        rewards={"vowels": vowels, "kills": KillsOnce()}, sync_every=2
    )
    small_run.make_trainer(workdir, train_ds=ds, num_train_steps=6).train()


if __name__ == "__main__":
    main()
