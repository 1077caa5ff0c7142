"""`open_storage`: the storage at a path or URL."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from kauldron.tracking.storage import _fsspec, _local, _storage


def open_storage(
    url: str | os.PathLike[str], options: Mapping[str, Any] | None = None
) -> _storage.Storage:
    """Returns the storage at a path or URL.

    Args:
      url: A folder, or a URL that fsspec knows: `s3://bucket/runs`, `memory://runs`.
      options: For the file system of a URL: `{"endpoint_url": "http://127.0.0.1:9000"}`.
    """
    text = os.fspath(url)
    if "://" in text and not text.startswith("file://"):
        return _fsspec.FsspecStorage(text, options or {})
    return _local.LocalStorage(text.removeprefix("file://"))
