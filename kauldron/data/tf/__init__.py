"""`kd.data.tf`: the published `tf.data` names, implemented without TensorFlow.

Configs that name these classes run on the pipelines of `kd.data.py`: shuffling is over the
whole dataset, and iterators resume exactly. An option that only makes sense with `tf.data`
raises, and says what to write instead.
"""

from __future__ import annotations

from kauldron._base import lazy

_GENERIC = "kauldron.data.transforms"
_PIPELINES = "kauldron.data.tf._pipelines"
_UNAVAILABLE = "kauldron.data.tf._unavailable"

__getattr__, __dir__, __all__ = lazy.attach(
    __name__,
    {
        # Pipelines.
        "ElementSpecDataset": f"{_PIPELINES}:ElementSpecDataset",
        "SampleFromDatasets": f"{_PIPELINES}:SampleFromDatasets",
        "Tfds": f"{_PIPELINES}:Tfds",
        "TfdsLegacy": f"{_PIPELINES}:TfdsLegacy",
        "ZipDatasets": f"{_PIPELINES}:ZipDatasets",
        # Pipelines that cannot be had without TensorFlow; they say so.
        "SeqIOMixture": f"{_UNAVAILABLE}:SeqIOMixture",
        "SeqIOTask": f"{_UNAVAILABLE}:SeqIOTask",
        "TFDataPipeline": f"{_UNAVAILABLE}:TFDataPipeline",
        "WithShuffleBuffer": f"{_UNAVAILABLE}:WithShuffleBuffer",
        # Transforms.
        "AddConstants": f"{_GENERIC}.elements:AddConstants",
        "Cast": f"{_GENERIC}.values:Cast",
        "CenterCrop": f"{_GENERIC}.images:CenterCrop",
        "ElementWiseRandomTransform": f"{_UNAVAILABLE}:ElementWiseRandomTransform",
        "ElementWiseTransform": f"{_GENERIC}.base:ElementWiseTransform",
        "Elements": f"{_GENERIC}.elements:Elements",
        "FilterTransform": f"{_GENERIC}.base:FilterTransform",
        "Gather": f"{_GENERIC}.values:Gather",
        "InceptionCrop": f"{_GENERIC}.random_crops:InceptionCrop",
        "MapTransform": f"{_GENERIC}.base:MapTransform",
        "OneHot": f"{_GENERIC}.values:OneHot",
        "RandomCrop": f"{_GENERIC}.random_crops:RandomCrop",
        "RandomFlipLeftRight": f"{_GENERIC}.random_crops:RandomFlipLeftRight",
        "Rearrange": f"{_GENERIC}.values:Rearrange",
        "Resize": "kauldron.data.tf._transforms:Resize",
        "ResizeSmall": f"{_GENERIC}.images:ResizeSmall",
        "TreeFlattenWithPath": f"{_GENERIC}.elements:TreeFlattenWithPath",
        "ValueRange": f"{_GENERIC}.values:ValueRange",
    },
)
