"""LDM's names, those of single files, as pairs of prefixes: diffusers' (which are ours) and LDM's.

A table is read in both directions: `swapped` turns it round, and `renamed` takes the longest prefix that fits.
"""

from collections.abc import Iterable, Iterator, Mapping

from ..config import UNetConfig, VAEConfig

Prefixes = Mapping[str, str]

# Of a residual block of the UNet, of its ends, and of a residual block of the autoencoder.
_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
_UNET_ENDS = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "time_embedding.cond_proj": "time_embed.cond_proj",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
_VAE_ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}

# OpenCLIP's text encoder; its q, k and v lie in one array, which is no matter of names.
OPEN_CLIP_ENDS = {
    "embeddings.token_embedding": "token_embedding",
    "embeddings.position_embedding.weight": "positional_embedding",
    "final_layer_norm": "ln_final",
}
_OPEN_CLIP_LAYER = {
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
    "self_attn.out_proj": "attn.out_proj",
}
QKV = ("q_proj", "k_proj", "v_proj")  # the rows of attn.in_proj_weight and attn.in_proj_bias, in this order


def swapped(prefixes: Prefixes) -> dict[str, str]:
    """The table for the other direction."""
    return {theirs: ours for ours, theirs in prefixes.items()}


def renamed(name: str, prefixes: Prefixes) -> str | None:
    """A tensor's name with its longest known prefix in the other spelling; None where it has none."""
    end = len(name)
    while end > 0:
        if (other := prefixes.get(name[:end])) is not None:
            return other + name[end:]
        end = name.rfind(".", 0, end)
    return None


def _under(ours: str, theirs: str, leaves: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    yield from ((f"{ours}.{a}", f"{theirs}.{b}") for a, b in leaves.items())


def unet_prefixes(config: UNetConfig) -> dict[str, str]:
    """Ours to LDM's, for a UNet of this shape: its blocks are counted through from level to level."""

    def block(ours: str, theirs: str, j: int, depth: int) -> Iterator[tuple[str, str]]:
        yield from _under(f"{ours}.resnets.{j}", f"{theirs}.0", _RESNET)
        if depth:
            yield f"{ours}.attentions.{j}", f"{theirs}.1"

    def pairs() -> Iterator[tuple[str, str]]:
        yield from _UNET_ENDS.items()
        levels, i = len(config.block_out_channels), 1
        for level in range(levels):
            for j, depth in enumerate(config.depths(level, up=False)):
                yield from block(f"down_blocks.{level}", f"input_blocks.{i}", j, depth)
                i += 1
            if level < levels - 1:
                yield f"down_blocks.{level}.downsamplers.0.conv", f"input_blocks.{i}.0.op"
                i += 1
        yield from _under("mid_block.resnets.0", "middle_block.0", _RESNET)
        yield "mid_block.attentions.0", "middle_block.1"
        yield from _under("mid_block.resnets.1", "middle_block.2", _RESNET)
        i = 0
        for up, level in enumerate(reversed(range(levels))):
            for j, depth in enumerate(depths := config.depths(level, up=True)):
                yield from block(f"up_blocks.{up}", f"output_blocks.{i}", j, depth)
                if level and j == len(depths) - 1:
                    yield f"up_blocks.{up}.upsamplers.0.conv", f"output_blocks.{i}.{2 if depth else 1}.conv"
                i += 1

    return dict(pairs())


def vae_prefixes(config: VAEConfig) -> dict[str, str]:
    """Ours to LDM's, for an autoencoder of this shape. LDM counts the way up from the widest level."""
    levels = len(config.block_out_channels)

    def half(side: str, way: str, layers: int, sampler: str) -> Iterator[tuple[str, str]]:
        for i in range(levels):
            ours, theirs = f"{side}.{way}_blocks.{i}", f"{side}.{way}.{levels - 1 - i if way == 'up' else i}"
            for j in range(layers):
                yield f"{ours}.resnets.{j}.conv_shortcut", f"{theirs}.block.{j}.nin_shortcut"
                yield f"{ours}.resnets.{j}", f"{theirs}.block.{j}"
            yield f"{ours}.{sampler}rs.0", f"{theirs}.{sampler}"
        for j in (0, 1):
            yield f"{side}.mid_block.resnets.{j}", f"{side}.mid.block_{j + 1}"
        yield from _under(f"{side}.mid_block.attentions.0", f"{side}.mid.attn_1", _VAE_ATTENTION)
        yield f"{side}.conv_norm_out", f"{side}.norm_out"
        yield from _same(f"{side}.conv_in", f"{side}.conv_out")

    return dict(
        (
            *half("encoder", "down", config.layers_per_block, "downsample"),
            *half("decoder", "up", config.layers_per_block + 1, "upsample"),
            *_same("quant_conv", "post_quant_conv"),
        )
    )


def _same(*names: str) -> Iterable[tuple[str, str]]:
    return ((name, name) for name in names)


def open_clip_prefixes(layers: int) -> dict[str, str]:
    """Ours to OpenCLIP's, all but q, k, v and the projection."""
    pairs = dict(OPEN_CLIP_ENDS)
    for n in range(layers):
        pairs.update(_under(f"encoder.layers.{n}", f"transformer.resblocks.{n}", _OPEN_CLIP_LAYER))
    return pairs
