"""Notebooks: the running IPython, and its cells by their names."""

from __future__ import annotations

import sys
from typing import Any


def shell() -> Any:
    """Returns the running IPython; `None` outside of one."""
    ipython = sys.modules.get("IPython")
    get = getattr(ipython, "get_ipython", None)
    return None if get is None else get()


def name_of(filename: str) -> str | None:
    """Returns `Cell In[3]` for the file name of a cell; `None` if it is none."""
    running = shell()
    name = getattr(getattr(running, "compile", None), "format_code_name", None)
    found = None if name is None else name(filename)
    return " ".join(found) if found else None
