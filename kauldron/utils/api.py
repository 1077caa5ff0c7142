"""The published namespace `kd.utils`."""

from __future__ import annotations

from kauldron._base import lazy

__getattr__, __dir__, __all__ = lazy.attach(
    __name__,
    {
        "chrono": "kauldron.recording.chrono",
        "colab": "kauldron.utils.colab",
        "config_util": "kauldron._base.root_refs",
        "immutabledict": "kauldron._base.frozen_dict",
        "sharding_utils": "kauldron.utils.sharding_utils",
        "status": "kauldron._base.console:status",
        "utils": "kauldron.utils.utils",
        "BaseConfig": "kauldron._base.root_refs:BaseConfig",
        "ImmutableDict": "kauldron._base.frozen_dict:ImmutableDict",
        "ROOT_CFG_REF": "kauldron._base.root_refs:ROOT_CFG_REF",
        "UpdateFromRootCfg": "kauldron._base.root_refs:UpdateFromRootCfg",
    },
)
