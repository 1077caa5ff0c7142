"""`kd.utils`."""

from __future__ import annotations

from kauldron import _lazy

__getattr__, __dir__, __all__ = _lazy.attach(
    __name__,
    {
        "chrono": "kauldron.utils.chrono",
        "colab": "kauldron.utils.colab",
        "config_util": "kauldron.utils.config_util",
        "immutabledict": "kauldron.utils.immutabledict",
        "sharding_utils": "kauldron.utils.sharding_utils",
        "status": "kauldron.utils.status_utils:status",
        "utils": "kauldron.utils.utils",
        "BaseConfig": "kauldron.utils.config_util:BaseConfig",
        "ImmutableDict": "kauldron.utils.immutabledict:ImmutableDict",
        "ROOT_CFG_REF": "kauldron.utils.config_util:ROOT_CFG_REF",
        "UpdateFromRootCfg": "kauldron.utils.config_util:UpdateFromRootCfg",
    },
)
