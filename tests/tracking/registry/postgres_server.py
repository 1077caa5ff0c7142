"""A PostgreSQL server of its own, in a temporary folder, by a user without rights."""

from __future__ import annotations

import contextlib
import os
import pathlib
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator


def _programs() -> pathlib.Path | None:
    """Returns the folder of the server's programs, the newest of them."""
    if found := shutil.which("initdb"):
        return pathlib.Path(found).parent
    folders = pathlib.Path("/usr/lib/postgresql").glob("*/bin")
    return max(folders, key=lambda path: int(path.parent.name), default=None)


def is_here() -> bool:
    """Whether a server can be started."""
    return _programs() is not None


@contextlib.contextmanager
def running() -> Iterator[str]:
    """Yields the URL of a server that runs inside of the block."""
    programs = _programs()
    assert programs is not None
    # It refuses to run as root.
    is_root = os.getuid() == 0
    user = pwd.getpwnam("nobody") if is_root else pwd.getpwuid(os.getuid())
    other = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    options = other if is_root else {}
    with tempfile.TemporaryDirectory(prefix="pg") as name:
        folder = pathlib.Path(name)
        os.chown(folder, user.pw_uid, user.pw_gid)
        data, log = folder / "data", folder / "log"
        quiet = {"stdout": subprocess.DEVNULL, "cwd": folder, "check": True}
        init = [programs / "initdb", "-D", data, "-A", "trust", "-U", "tester", "-N"]
        subprocess.run(init, **quiet, **options)
        settings = f"-k {folder} -c listen_addresses='' -c fsync=off"
        control = [programs / "pg_ctl", "-D", data, "-w"]
        start = [*control, "-l", log, "-o", settings, "start"]
        subprocess.run(start, **quiet, **options)
        try:
            yield f"postgresql://tester@/postgres?host={folder}"
        finally:
            subprocess.run([*control, "-m", "immediate", "stop"], **quiet, **options)
