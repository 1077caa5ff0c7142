"""Commands of the documentation, started as a user starts them."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
from typing import Any

ROOT = pathlib.Path(__file__).parents[2]

# What tests set to be quick, and users don't.
_OF_TESTS = ("XLA_", "JAX_", "KAULDRON_")


def start(command: str, folder: pathlib.Path, **kwargs: Any) -> subprocess.Popen[str]:
    """Starts a command in a folder; its home and its cache are in there, too.

    Args:
      command: A line of bash. With `exec` in front, signals reach what it starts.
      folder: Where it is started.
      **kwargs: Of `subprocess.Popen`.
    """
    environment = {k: v for k, v in os.environ.items() if not k.startswith(_OF_TESTS)}
    environment |= {
        "HOME": str(folder / ".home"),
        "JAX_PLATFORMS": "cpu",
        "KAULDRON_DATA": str(folder / ".data"),
        "PATH": f"{pathlib.Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
    }
    return subprocess.Popen(
        ["bash", "-c", command],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        **{"stderr": subprocess.PIPE, **kwargs},
    )
