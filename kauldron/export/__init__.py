"""`kd.export`: a trained model as files that run without its source.

Nothing is imported before it is used.
"""

from __future__ import annotations

from kauldron._base import lazy

_EXPORTERS = "kauldron.export._exporters"

__getattr__, __dir__, __all__ = lazy.attach(
    __name__,
    {
        "export": "kauldron.export._export:export",
        "load": "kauldron.export._load:load",
        "Exported": "kauldron.export._load:Exported",
        "load_weights": "kauldron.export._weights:load_weights",
        "save_weights": "kauldron.export._weights:save_weights",
        "Written": "kauldron.export._export:Written",
        # In a config.
        "JaxModelExporter": f"{_EXPORTERS}:JaxModelExporter",
        "ModelExporter": f"{_EXPORTERS}:ModelExporter",
        "NoopExporter": f"{_EXPORTERS}:NoopExporter",
        # What is wrong.
        "ExportError": "kauldron.export._errors:ExportError",
    },
)
