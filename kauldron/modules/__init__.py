"""`kd.nn`: Flax modules aware of keys and of train/eval mode, from layers to models.

Sub-rooms, each imported when a name of it is used: `attention`, `transformers`,
`language`, `images`, `generative`, `graph`.
"""

from __future__ import annotations

from kauldron._base import lazy

_ROOM = "kauldron.modules"


def _names(file: str, names: str) -> dict[str, str]:
    return {name: f"{_ROOM}.{file}:{name}" for name in names.split()}


__getattr__, __dir__, __all__ = lazy.attach(
    __name__,
    {
        **_names("_autoencoder", "FlatAutoencoder"),
        **_names("_dropout", "Dropout"),
        **_names("_einops", "Rearrange Reduce"),
        **_names("_interms", "IntermediateError intermediates_read interms_property"),
        **_names("_logical_axes", "AXIS_NAMES logical_axes with_logical_axes"),
        **_names("_sequential", "Identity Sequential"),
        **_names("_train_property", "set_train_property train_property"),
        **_names("_wrappers", "DummyModel ExternalModule WrapperModule"),
        # attention
        # transformers
        "knn_types": f"{_ROOM}.transformers.knn_types",
        **_names(
            "transformers._attention",
            "ImprovedMultiHeadDotProductAttention MultiHeadDotProductAttention "
            "dot_product_attention_weights",
        ),
        **_names(
            "transformers._blocks",
            "ParallelAttentionBlock PostNormBlock PreNormBlock TransformerMLP",
        ),
        **_names(
            "transformers._embeddings",
            "AddEmbedding AddLearnedEmbedding FourierEmbedding LearnedEmbedding "
            "ZeroEmbedding convert_to_fourier_features",
        ),
        **_names("transformers._patches", "Patchify PatchifyEmbed"),
        **_names("transformers._variants", "VariantError"),
        **_names("transformers._vit", "Vit VitAutoEncoder VitEncoder"),
        **_names(
            "transformers.knn_types",
            "AttentionModule ImageTokenizer NormModule TransformerBlock",
        ),
        # language
        # images
        # generative
        # graph
    },
)
