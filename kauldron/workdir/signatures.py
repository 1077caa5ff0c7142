"""Signatures of runs: a config of your own is trusted, one from elsewhere is not.

A run signs its `config.json` with a key that only its user can read. What bears a valid
signature was written by this user's own runs, and may name any package.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import pathlib
import secrets

from etils import epath

from kauldron._base import shared_files

SIGNATURE_FILE = "config.signature"

# `0` turns signatures off: none is written, none is believed.
ENV_VAR = "KAULDRON_SIGN_RUNS"
_KEY_BYTES = 32


def key_file() -> pathlib.Path:
    """Returns where the key of this user is: `~/.config/kauldron/signing.key`."""
    home = os.environ.get("XDG_CONFIG_HOME") or pathlib.Path.home() / ".config"
    return pathlib.Path(home) / "kauldron" / "signing.key"


def sign(config: epath.Path) -> None:
    """Signs the `config.json` of a run; makes the key of this user if there is none.

    Where the key cannot be kept, such as in a container without a home, nothing is
    signed.
    """
    if not _is_on():
        return
    key = _read_key() or _make_key()
    if key is None:
        return
    signature = _signature(key, config.read_bytes())
    shared_files.write_atomically(config.with_name(SIGNATURE_FILE), f"{signature}\n")


def is_own(config: epath.Path) -> bool:
    """Whether a `config.json` was written by a run of this user, and is unchanged."""
    key = _read_key() if _is_on() else None
    if key is None:
        return False
    try:
        content = config.read_bytes()
        signature = config.with_name(SIGNATURE_FILE).read_text().strip()
    except (OSError, UnicodeDecodeError):
        return False
    return hmac.compare_digest(_signature(key, content).encode(), signature.encode())


def _is_on() -> bool:
    return os.environ.get(ENV_VAR, "1") != "0"


def _signature(key: bytes, content: bytes) -> str:
    return hmac.new(key, content, hashlib.sha256).hexdigest()


def _read_key() -> bytes | None:
    try:
        file = key_file()
        key = file.read_bytes()
        is_private = os.stat(file).st_uid == os.getuid()
    except (OSError, RuntimeError):  # no home, no file, no permission
        return None
    return key if is_private and len(key) == _KEY_BYTES else None


def _make_key() -> bytes | None:
    """Makes the key; of several processes that do so at once, one wins."""
    try:
        file = key_file()
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        own = file.with_name(f"{file.name}.{os.getpid()}.{secrets.token_hex(4)}")
        own.touch(mode=0o600)
        own.write_bytes(secrets.token_bytes(_KEY_BYTES))
        with contextlib.suppress(FileExistsError):
            os.link(own, file)
        own.unlink()
    except (OSError, RuntimeError):
        return None
    return _read_key()
