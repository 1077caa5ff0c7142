"""A config that creates missing fields when they are accessed."""

from __future__ import annotations

from typing import Any

from kauldron.konfig.tree import _config_dict


class AutoNestedConfigDict(_config_dict.ConfigDict):
    """A config whose missing attributes are new, nested nodes.

    For collecting values before the config they belong to exists.

    Example:

    ```python
    from kauldron import konfig

    cfg = konfig.AutoNestedConfigDict()
    cfg.model.encoder.width = 64
    assert cfg.as_flat_dict() == {"model.encoder.width": 64}
    ```
    """

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name in self:
            return super().__getattr__(name)
        self[name] = AutoNestedConfigDict()
        return self[name]

    def as_flat_dict(self) -> dict[str, Any]:
        """Returns dotted path -> value, for every value that is not such a node."""
        flat: dict[str, Any] = {}
        for key, value in self.items():
            if isinstance(value, AutoNestedConfigDict):
                below = value.as_flat_dict().items()
                flat.update((f"{key}.{inner}", v) for inner, v in below)
            else:
                flat[str(key)] = value
        return flat
