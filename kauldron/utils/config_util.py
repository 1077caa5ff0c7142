"""Published import path of root references."""

from __future__ import annotations

from kauldron._base.root_refs import (
    ROOT_CFG_REF,
    BaseConfig,
    UnboundFieldError,
    UpdateFromRootCfg,
)

__all__ = ["ROOT_CFG_REF", "BaseConfig", "UnboundFieldError", "UpdateFromRootCfg"]
