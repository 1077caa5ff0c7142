"""`kd.nn`: Flax modules aware of keys and of train/eval mode, from layers to models.

Sub-rooms, each imported when a name of it is used: `attention`, `transformers`,
`language`, `images`, `patches`, `generative`, `graph`.
"""

from __future__ import annotations

from kauldron._base import lazy

_ROOM = "kauldron.modules"


def _names(file: str, names: str) -> dict[str, str]:
    return {name: f"{_ROOM}.{file}:{name}" for name in names.split()}


__getattr__, __dir__, __all__ = lazy.attach(
    __name__,
    {
        **_names("_activations", "PReLU"),
        **_names("_autoencoder", "FlatAutoencoder"),
        **_names("_dropout", "Dropout"),
        **_names("_einops", "Rearrange Reduce"),
        **_names("_functions", "FunctionModule"),
        **_names("_interms", "IntermediateError interms_property"),
        **_names("_logical_axes", "AXIS_NAMES logical_axes with_logical_axes"),
        **_names("_norms", "BatchNorm"),
        **_names("_rms_norm", "RMSNorm"),
        **_names("_sequential", "Identity Sequential"),
        **_names(
            "_train_property", "intermediates_read set_train_property train_property"
        ),
        **_names("_wrappers", "DummyModel ExternalModule WrapperModule"),
        # attention
        **_names("attention._dot_product", "dot_product_attention"),
        **_names("attention._cache", "CacheSpec CacheView ContiguousCache KVCache"),
        **_names("attention._key_blocks", "KeyBlock attend_key_blocks"),
        **_names("attention._recording", "AttentionCall record_attention"),
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
        **_names("transformers._vit_classifier", "VitClassifier"),
        **_names(
            "transformers.knn_types",
            "AttentionModule ImageTokenizer NormModule TransformerBlock",
        ),
        # language
        **_names("language._causal_lm", "CausalLM"),
        **_names("language._decoder_block", "DecoderBlock"),
        **_names("language._families", "decoder"),
        **_names("language._feed_forward", "FeedForward"),
        **_names("language._gq_attention", "GQAttention"),
        **_names("language._ml_attention", "MLAttention"),
        **_names("language._moe", "MoE Routing"),
        **_names("language._projection", "Projection"),
        **_names(
            "language._rope", "LinearScaling Llama3Scaling NtkScaling Rope YarnScaling"
        ),
        # images
        **_names(
            "images._blocks", "AttentionGate ConvBlock ResidualBlock SqueezeExcitation"
        ),
        **_names("images._conv", "Conv ConvTranspose SpectralConv"),
        **_names("images._mixer", "MlpMixer"),
        **_names(
            "images._deformations",
            "integrate_velocity jacobian_determinant move_points",
        ),
        **_names("images._patch_discriminator", "PatchDiscriminator"),
        **_names("images._registration", "Registration"),
        **_names("images._resampling", "Downsample Upsample"),
        **_names("images._residual_unet", "ResidualUNet"),
        **_names("images._spatial_transformer", "SpatialTransformer"),
        **_names("images._unet", "UNet"),
        **_names("images._unet_plus_plus", "UNetPlusPlus"),
        **_names("images._convnext", "ConvNeXt"),
        **_names("images._resnet", "ResNet"),
        # patches
        **_names("patches._patch_wise", "PatchWise"),
        **_names("patches.tilings", "PatchError"),
        # generative
        **_names("generative._conditional_unet", "ConditionalUNet"),
        **_names("generative._diffusion", "Diffusion"),
        **_names("generative._flow_matching", "FlowMatching"),
        **_names("generative._networks", "ConditionalMLP TimeEmbedding"),
        **_names(
            "generative._noise_schedules", "CosineNoise LinearNoise NoiseSchedule"
        ),
        **_names("generative._samplers", "ancestral ddim euler heun"),
        **_names("generative._vae", "VAE"),
        # graph
        **_names("graph._graph", "Graph"),
        **_names("graph._node", "GraphError Node"),
        **_names("graph._shapes", "downsampling_factor eval_shape output_shapes"),
    },
)
