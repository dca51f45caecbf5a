"""The shapes of the nets, read from a checkpoint's own config.json.

Each dataclass keeps the keys it knows. A key that would change what the net computes, and that these nets do not
implement, is an error that names it: a picture from a net that is silently another net is worth nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

from .values import Kind, check, declared, flag, number, rows, several, text, whole

Config = Mapping[str, Any]

SIZE = whole(1, 2**20)
SIZES = several(SIZE, f"at most 32 whole numbers from 1 to {2**20}", most=32)
SMALL = number(0, 1)

TILE = 256  # pixels a side of what an autoencoder works on at once, where whole pictures are too large
TILES = whole(16, 2**16)


def _is_depth(value: Any) -> bool:
    one = isinstance(value, tuple | list) and len(value) <= 32 and not any(map(SIZE.fault, value))
    return one or not SIZE.fault(value)


DEPTHS = several(
    Kind(SIZE.read, (("a number", _is_depth),)), f"at most 32 numbers from 1 to {2**20}, or lists of them", most=32
)
WORDS = several(text(), "at most 32 names", most=32)


def _per_level(value: Any, levels: int, key: str) -> tuple[Any, ...]:
    """One number per level, from a number or a list; or, in the list, one for each layer of a level."""
    if isinstance(value, int):
        return (value,) * levels
    if len(listed := _listed(value, key)) != levels:
        raise ValueError(f"{key} has {len(listed)} entries for {levels} levels: {value!r:.200}")
    return tuple(tuple(entry) if isinstance(entry, list) else entry for entry in listed)


def _listed(value: Any, key: str) -> tuple[Any, ...]:
    """A list of a config. Raises ValueError for anything else."""
    if not isinstance(value, list | tuple):
        raise ValueError(f"{key} is {value!r:.200}: it must be a list")
    return tuple(value)


def _known(kind: str, types: Any, known: tuple[str, ...]) -> tuple[str, ...]:
    for name in _listed(types, f"{kind} types"):
        if name not in known:
            raise ValueError(f"unknown {kind} type {name!r:.200}: this package knows {', '.join(known)}")
    return tuple(types)


def _refuse_others(net: str, config: Config, only: Mapping[str, tuple[object, ...]]) -> None:
    """Raise for a key whose value asks for a net that is not implemented here."""
    for key, values in only.items():
        if key in config and config[key] not in values:
            raise ValueError(f"{net} config: {key} = {config[key]!r:.200} is not supported (only {values[0]!r})")


@dataclass(frozen=True, kw_only=True)
class UNetConfig:
    """UNet2DConditionModel: SD 1.x, 2.x, XL, turbo, inpainting."""

    in_channels: int = declared(4, SIZE)  # 9: latents, mask, masked image
    out_channels: int = declared(4, SIZE)
    sample_size: tuple[int, int] = declared((64, 64), SIZES)  # height and width of the latents it was trained at
    down_block_types: tuple[str, ...] = declared((*("CrossAttnDownBlock2D",) * 3, "DownBlock2D"), WORDS)
    up_block_types: tuple[str, ...] = declared(("UpBlock2D", *("CrossAttnUpBlock2D",) * 3), WORDS)
    block_out_channels: tuple[int, ...] = declared((320, 640, 1280, 1280), SIZES)
    layers_per_block: tuple[int, ...] = declared((2, 2, 2, 2), SIZES)
    num_attention_heads: tuple[int, ...] = declared((8, 8, 8, 8), SIZES)
    # Of a level, or of each of its layers; where the way up has others than the way down, those too, deepest first.
    transformer_layers_per_block: tuple[int | tuple[int, ...], ...] = declared((1, 1, 1, 1), DEPTHS)
    reverse_transformer_layers_per_block: tuple[int | tuple[int, ...], ...] | None = declared(None, DEPTHS)
    cross_attention_dim: int = declared(768, SIZE)
    norm_num_groups: int = declared(32, SIZE)
    norm_eps: float = declared(1e-5, SMALL)
    flip_sin_to_cos: bool = declared(True, flag())
    freq_shift: float = declared(0.0, number(0, 1000))
    upcast_attention: bool = declared(False, flag())
    has_mid_block: bool = declared(True, flag())
    mid_block_attends: bool = declared(True, flag())  # SSD-1B's and Vega's has one residual block and nothing else
    addition_embed_type: str | None = None  # "text_time": XL's pooled text and sizes
    addition_time_embed_dim: int = declared(256, SIZE)
    projection_class_embeddings_input_dim: int = declared(2816, SIZE)
    time_cond_proj_dim: int | None = declared(None, SIZE)  # an LCM's embedding of the guidance scale

    def __post_init__(self) -> None:
        check(self, rows(UNetConfig))

    def depths(self, level: int, up: bool) -> tuple[int, ...]:
        """Transformer blocks of each layer of a level, on the way down or up; none where it does not attend."""
        levels = len(self.block_out_channels)
        kind = self.up_block_types[levels - 1 - level] if up else self.down_block_types[level]
        layers = self.layers_per_block[level] + up
        if not kind.startswith("CrossAttn"):
            return (0,) * layers
        reverse = self.reverse_transformer_layers_per_block
        depth = reverse[levels - 1 - level] if up and reverse else self.transformer_layers_per_block[level]
        return (depth,) * layers if isinstance(depth, int) else depth

    @classmethod
    def from_diffusers(cls, config: Config) -> "UNetConfig":
        """Read a diffusers `unet/config.json`. Raises ValueError for a layer type or an option that is not known."""
        channels = _listed(config.get("block_out_channels", cls.block_out_channels), "block_out_channels")
        levels = len(channels)
        _refuse_others(
            "unet",
            config,
            {
                "act_fn": ("silu", "swish"),
                "addition_embed_type": ("text_time", None),
                "attention_type": ("default",),
                "center_input_sample": (False,),
                "class_embed_type": (None,),
                "class_embeddings_concat": (False,),
                "conv_in_kernel": (3,),
                "conv_out_kernel": (3,),
                "cross_attention_norm": (None,),
                "downsample_padding": (1,),
                "dual_cross_attention": (False,),
                "encoder_hid_dim": (None,),
                "encoder_hid_dim_type": (None,),
                "mid_block_only_cross_attention": (None, False),
                "mid_block_scale_factor": (1, 1.0),
                "num_class_embeds": (None,),
                "only_cross_attention": (False, [], [False] * levels),
                "resnet_out_scale_factor": (1.0,),
                "resnet_skip_time_act": (False,),
                "resnet_time_scale_shift": ("default",),
                "time_embedding_act_fn": (None,),
                "time_embedding_type": ("positional",),
                "timestep_post_act": (None,),
            },
        )
        known = {key: config[key] for key in _SAME_IN_UNET if config.get(key) is not None}
        if isinstance(size := config.get("sample_size", cls.sample_size), int):
            size = (size, size)
        if len(size := _listed(size, "sample_size")) != 2:
            raise ValueError(f"sample_size is {size!r:.200}: it must be one number or two")
        if (
            isinstance(width := known.get("cross_attention_dim"), list)
            and width
            and width.count(width[0]) == len(width)
        ):
            known["cross_attention_dim"] = width[0]  # one for each level, and all the same
        down = _known(
            "unet down block",
            config.get("down_block_types", cls.down_block_types),
            ("CrossAttnDownBlock2D", "DownBlock2D"),
        )
        up = _known(
            "unet up block", config.get("up_block_types", cls.up_block_types), ("CrossAttnUpBlock2D", "UpBlock2D")
        )
        if not len(down) == len(up) == levels:
            raise ValueError(f"unet config: {len(down)} down, {len(up)} up blocks for {levels} levels of channels")
        mid = config.get("mid_block_type", CROSS_MID)
        if mid is not None:
            _known("unet mid block", (mid,), (CROSS_MID, PLAIN_MID))
        # diffusers' `attention_head_dim` is, by an old mistake that every checkpoint carries, the number of heads.
        heads = config.get("num_attention_heads") or config.get("attention_head_dim", 8)
        depths = _per_level(config.get("transformer_layers_per_block", 1), levels, "transformer_layers_per_block")
        reverse = config.get("reverse_transformer_layers_per_block")
        if reverse is not None:
            reverse = _per_level(reverse, levels, "reverse_transformer_layers_per_block")
        if mid == CROSS_MID and not isinstance(depths[-1], int):
            raise ValueError(f"transformer_layers_per_block ends in {depths[-1]}: the mid block needs one number")
        unet = cls(
            **known,
            sample_size=size,
            down_block_types=down,
            up_block_types=up,
            block_out_channels=channels,
            layers_per_block=_per_level(config.get("layers_per_block", 2), levels, "layers_per_block"),
            num_attention_heads=_per_level(heads, levels, "attention_head_dim"),
            transformer_layers_per_block=depths,
            reverse_transformer_layers_per_block=reverse,
            has_mid_block=mid is not None,
            mid_block_attends=mid != PLAIN_MID,
        )
        for way, level in product((False, True), range(levels)):
            if len(found := unet.depths(level, way)) != (layers := unet.layers_per_block[level] + way):
                raise ValueError(f"transformer layers {found} for {layers} layers")
        return unet


CROSS_MID, PLAIN_MID = "UNetMidBlock2DCrossAttn", "UNetMidBlock2D"

_SAME_IN_UNET = (
    "in_channels",
    "out_channels",
    "cross_attention_dim",
    "norm_num_groups",
    "norm_eps",
    "flip_sin_to_cos",
    "freq_shift",
    "upcast_attention",
    "addition_embed_type",
    "addition_time_embed_dim",
    "projection_class_embeddings_input_dim",
    "time_cond_proj_dim",
)


@dataclass(frozen=True, kw_only=True)
class VAEConfig:
    """AutoencoderKL. Latents are `scaling_factor * mean`; a level halves the picture, but the last one does not."""

    in_channels: int = declared(3, SIZE)
    out_channels: int = declared(3, SIZE)
    latent_channels: int = declared(4, SIZE)
    block_out_channels: tuple[int, ...] = declared((128, 256, 512, 512), SIZES)
    layers_per_block: int = declared(2, SIZE)
    norm_num_groups: int = declared(32, SIZE)
    scaling_factor: float = declared(0.18215, number(1e-6, 1e6))
    shift_factor: float = declared(0.0, number(-1e6, 1e6))
    use_quant_conv: bool = declared(True, flag())
    use_post_quant_conv: bool = declared(True, flag())
    mid_block_add_attention: bool = declared(True, flag())
    force_upcast: bool = declared(True, flag())  # heeded in XL alone, as in diffusers, whose default it is

    def __post_init__(self) -> None:
        check(self, rows(VAEConfig))

    @property
    def factor(self) -> int:
        """Pixels per latent, along a side."""
        return 2 ** (len(self.block_out_channels) - 1)

    @classmethod
    def from_diffusers(cls, config: Config) -> "VAEConfig":
        """Read a diffusers `vae/config.json`. Raises ValueError for a layer type or an option that is not known."""
        _refuse_others("vae", config, {"act_fn": ("silu",), "latents_mean": (None,), "latents_std": (None,)})
        _known("vae down block", config.get("down_block_types", ()), ("DownEncoderBlock2D",))
        _known("vae up block", config.get("up_block_types", ()), ("UpDecoderBlock2D",))
        known = {key: config[key] for key in cls.__dataclass_fields__ if config.get(key) is not None}
        if "block_out_channels" in known:
            known["block_out_channels"] = _listed(known["block_out_channels"], "block_out_channels")
        return cls(**known)


@dataclass(frozen=True, kw_only=True)
class TinyVAEConfig:
    """AutoencoderTiny, as TAESD has it: its shape is fixed, and its latents are the UNet's own."""

    channels: int = declared(64, SIZE)
    latent_channels: int = declared(4, SIZE)
    force_upcast: bool = declared(False, flag())

    def __post_init__(self) -> None:
        check(self, rows(TinyVAEConfig))

    @property
    def factor(self) -> int:
        """Pixels per latent, along a side."""
        return 8

    @property
    def block_out_channels(self) -> tuple[int, ...]:
        return (self.channels,)

    @classmethod
    def from_diffusers(cls, config: Config) -> "TinyVAEConfig":
        """Read the config.json of a diffusers AutoencoderTiny. Raises ValueError for one of another shape."""
        widths = tuple(config.get("encoder_block_out_channels", (64,) * 4))
        only: dict[str, tuple[object, ...]] = {
            "act_fn": ("relu",),
            "in_channels": (3,),
            "out_channels": (3,),
            "num_encoder_blocks": ([1, 3, 3, 3],),
            "num_decoder_blocks": ([3, 3, 3, 1],),
            "decoder_block_out_channels": (list(widths),),
            "encoder_block_out_channels": ([widths[0]] * 4,),
            "upsampling_scaling_factor": (2,),
            "upsample_fn": ("nearest",),
            "scaling_factor": (1.0, 1),
            "shift_factor": (0.0, 0, None),
        }
        _refuse_others("tiny vae", config, only)
        return cls(channels=widths[0], latent_channels=config.get("latent_channels", 4))


@dataclass(frozen=True, kw_only=True)
class CLIPTextConfig:
    """CLIPTextModel, with or without its projection."""

    vocab_size: int = declared(49408, SIZE)
    hidden_size: int = declared(768, SIZE)
    intermediate_size: int = declared(3072, SIZE)
    num_hidden_layers: int = declared(12, SIZE)
    num_attention_heads: int = declared(12, SIZE)
    max_position_embeddings: int = declared(77, SIZE)
    hidden_act: str = declared("quick_gelu", text())
    layer_norm_eps: float = declared(1e-5, SMALL)
    eos_token_id: int = declared(49407, whole(0, 2**20))  # 2 in old configs: then the highest id marks the end
    projection_dim: int | None = declared(None, SIZE)  # None: no projection

    def __post_init__(self) -> None:
        check(self, rows(CLIPTextConfig))

    @classmethod
    def from_diffusers(cls, config: Config) -> "CLIPTextConfig":
        """Read a transformers `text_encoder/config.json`. Raises ValueError for a model or an option not known."""
        plain, projected = "CLIPTextModel", "CLIPTextModelWithProjection"
        architecture = (*_listed(config.get("architectures") or (), "architectures"), plain)[0]
        _known("text encoder", (architecture,), (plain, projected))
        _known("text encoder activation", (config.get("hidden_act", "quick_gelu"),), ("quick_gelu", "gelu"))
        known = {key: config[key] for key in cls.__dataclass_fields__ if config.get(key) is not None}
        known["projection_dim"] = config.get("projection_dim", 512) if architecture == projected else None
        return cls(**known)
