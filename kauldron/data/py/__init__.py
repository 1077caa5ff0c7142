"""`kd.data.py`: pipelines over sources with random access."""

from __future__ import annotations

from kauldron import _lazy

_GENERIC = "kauldron.data.transforms"

__getattr__, __dir__, __all__ = _lazy.attach(
    __name__,
    {
        # Pipelines.
        "PyGrainPipeline": "kauldron.data.py.base:PyGrainPipeline",
        "DataSourceBase": "kauldron.data.py.base:DataSourceBase",
        "DropRemainder": "kauldron.data.py.base:DropRemainder",
        "DataSource": "kauldron.data.py._sources:DataSource",
        "SliceDataset": "kauldron.data.py._slices:SliceDataset",
        # Transforms.
        "AddConstants": f"{_GENERIC}.elements:AddConstants",
        "Cast": f"{_GENERIC}.values:Cast",
        "ElementWiseRandomTransform": f"{_GENERIC}.base:ElementWiseRandomTransform",
        "ElementWiseTransform": f"{_GENERIC}.base:ElementWiseTransform",
        "Elements": f"{_GENERIC}.elements:Elements",
        "FilterTransform": f"{_GENERIC}.base:FilterTransform",
        "Gather": f"{_GENERIC}.values:Gather",
        "MapTransform": f"{_GENERIC}.base:MapTransform",
        "Rearrange": f"{_GENERIC}.values:Rearrange",
        "TreeFlattenWithPath": f"{_GENERIC}.elements:TreeFlattenWithPath",
        "ValueRange": f"{_GENERIC}.values:ValueRange",
    },
)
