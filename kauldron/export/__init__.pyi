"""What is in the lazy table beside this file; written by `make stubs`."""

from kauldron.export._errors import ExportError as ExportError
from kauldron.export._export import Written as Written
from kauldron.export._export import export as export
from kauldron.export._exporters import JaxModelExporter as JaxModelExporter
from kauldron.export._exporters import ModelExporter as ModelExporter
from kauldron.export._exporters import NoopExporter as NoopExporter
from kauldron.export._load import Exported as Exported
from kauldron.export._load import load as load
from kauldron.export._weights import load_weights as load_weights
from kauldron.export._weights import save_weights as save_weights

__all__ = [
    "ExportError",
    "Exported",
    "JaxModelExporter",
    "ModelExporter",
    "NoopExporter",
    "Written",
    "export",
    "load",
    "load_weights",
    "save_weights",
]
