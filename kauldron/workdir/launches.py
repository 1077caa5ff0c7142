"""Launch records: how each start of a run was made, `workdir/launches/<n>.json`.

Together with the config it says how to get the same numbers again: the command, the
versions of all packages, the commit and what was not committed, the devices.
"""

from __future__ import annotations

import datetime
import json
import os
import platform
import re
import socket
import subprocess
import sys
from collections.abc import Mapping
from importlib import metadata
from typing import Any

from etils import epath

FOLDER = "launches"
_MAX_PATCH_BYTES = 4 * 2**20
_GIT_TIMEOUT_SECS = 10
_FIELD = re.compile(r"^(Name|Version):[ \t]*(.+?)[ \t]*\r?$", re.MULTILINE)


def write(
    workdir: epath.Path, *, seed: int, first_step: int, backend: Mapping[str, Any]
) -> None:
    """Records one start of a run.

    Args:
      workdir: Directory of the run.
      seed: Its root seed.
      first_step: The step it starts or continues at.
      backend: What the run computes on, see `sharding.describe_backend`.
    """
    folder = workdir / FOLDER
    folder.mkdir(exist_ok=True)
    number = 1 + max(map(_number, folder.glob("*.json")), default=-1)
    repository = _repository(os.getcwd())
    patch = repository.pop("patch", None)
    launch = {
        "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": [sys.executable, *sys.argv],
        "cwd": os.getcwd(),
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "seed": seed,
        "first_step": first_step,
        **_software(),
        **backend,
        "git": repository,
    }
    if patch:
        (folder / f"{number}.patch").write_bytes(patch)
    (folder / f"{number}.json").write_text(json.dumps(launch, indent=2))


def read_all(workdir: epath.PathLike) -> list[dict[str, Any]]:
    """Returns the records of a run, the first start first."""
    folder = epath.Path(workdir) / FOLDER
    paths = folder.glob("*.json") if folder.exists() else ()
    return [json.loads(p.read_text()) for p in sorted(paths, key=_number)]


def _number(path: epath.Path) -> int:
    return int(path.stem)


def describe_changes(
    workdir: epath.PathLike, *, backend: Mapping[str, Any]
) -> list[str]:
    """Returns a line per thing that is not as it was when a run first started.

    Args:
      workdir: Directory of the run.
      backend: What this process computes on, see `sharding.describe_backend`.
    """
    launches = read_all(workdir)
    if not launches:
        return ["unknown: the run has left no record of its starts"]
    then = launches[0]
    now = {**_software(), **backend, "git": _repository(os.getcwd())}
    lines = []
    for name in ("python", "num_processes", "devices", "jax_flags"):
        if then[name] != now[name]:
            lines.append(f"{name}: {then[name]} then, {now[name]} now")
    for name in sorted({*then["packages"], *now["packages"]}):
        versions = [x["packages"].get(name, "absent") for x in (then, now)]
        if versions[0] != versions[1]:
            lines.append(f"{name}: {versions[0]} then, {versions[1]} now")
    return lines + _code_changes(then["git"], now["git"])


def _code_changes(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    lines = []
    if then.get("commit") != now.get("commit"):
        lines.append(f"commit: {then.get('commit')} then, {now.get('commit')} now")
    if then.get("has_uncommitted_changes"):
        lines.append(f"there were uncommitted changes then: {FOLDER}/0.patch")
    if now.get("has_uncommitted_changes"):
        lines.append("there are uncommitted changes now")
    return lines


def _software() -> dict[str, Any]:
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": _packages(),
    }


def _packages() -> dict[str, str]:
    found = dict(map(_name_and_version, metadata.distributions()))
    return dict(sorted(found.items()))


def _name_and_version(package: metadata.Distribution) -> tuple[str, str]:
    """Reads two lines: the parser of e-mails, which reads all, takes ten times as long."""
    text = package.read_text("METADATA") or ""
    fields = dict(_FIELD.findall(text.partition("\n\n")[0]))
    if fields.keys() != {"Name", "Version"}:  # of an older kind
        return package.metadata["Name"], package.version
    return fields["Name"], fields["Version"]


def _repository(folder: str) -> dict[str, Any]:
    """Returns the state of the repository around a folder; empty if there is none."""
    commit = _git(folder, "rev-parse", "HEAD")
    if commit is None:
        return {}
    root = (_git(folder, "rev-parse", "--show-toplevel") or b"").decode().strip()
    patch = _git(root, "diff", "HEAD", "--binary") or b""
    others = _git(root, "ls-files", "--others", "--exclude-standard") or b""
    repository: dict[str, Any] = {
        "commit": commit.decode().strip(),
        "has_uncommitted_changes": bool(patch),
        "untracked_files": others.decode(errors="replace").splitlines()[:100],
    }
    if len(patch) > _MAX_PATCH_BYTES:
        repository["patch_is_too_large"] = len(patch)
    else:
        repository["patch"] = patch
    return repository


def _git(folder: str, *args: str) -> bytes | None:
    """Returns what a git command prints; `None` if there is no git, or no repository."""
    try:
        done = subprocess.run(
            ["git", "-C", folder, *args],
            capture_output=True,
            check=True,
            timeout=_GIT_TIMEOUT_SECS,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout
