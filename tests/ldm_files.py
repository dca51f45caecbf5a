"""What is in single files: LDM's names and shapes, generated from a few numbers, and files of them.

Written from the published layout of CompVis/stable-diffusion and Stability's generative-models, not from our tables.
"""

import json
import struct
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

Shape = tuple[int, ...]
Names = dict[str, Shape]


def _both(name: str, out: int, *rest: int) -> Iterator[tuple[str, Shape]]:
    yield f"{name}.weight", (out, *rest)
    yield f"{name}.bias", (out,)


def _resnet(name: str, i: int, o: int, time: int) -> Iterator[tuple[str, Shape]]:
    yield from _both(f"{name}.in_layers.0", i)
    yield from _both(f"{name}.in_layers.2", o, i, 3, 3)
    yield from _both(f"{name}.emb_layers.1", o, time)
    yield from _both(f"{name}.out_layers.0", o)
    yield from _both(f"{name}.out_layers.3", o, o, 3, 3)
    if i != o:
        yield from _both(f"{name}.skip_connection", o, i, 1, 1)


def _attention(name: str, c: int, depth: int, context: int, linear: bool) -> Iterator[tuple[str, Shape]]:
    kernel = () if linear else (1, 1)
    yield from _both(f"{name}.norm", c)
    for proj in ("proj_in", "proj_out"):
        yield from _both(f"{name}.{proj}", c, c, *kernel)
    for d in range(depth):
        block = f"{name}.transformer_blocks.{d}"
        for attn, width in (("attn1", c), ("attn2", context)):
            yield f"{block}.{attn}.to_q.weight", (c, c)
            yield f"{block}.{attn}.to_k.weight", (c, width)
            yield f"{block}.{attn}.to_v.weight", (c, width)
            yield from _both(f"{block}.{attn}.to_out.0", c, c)
        for n in (1, 2, 3):
            yield from _both(f"{block}.norm{n}", c)
        yield from _both(f"{block}.ff.net.0.proj", 8 * c, c)
        yield from _both(f"{block}.ff.net.2", c, 4 * c)


def unet(
    widths: tuple[int, ...] = (320, 640, 1280, 1280),
    depths: tuple[int, ...] = (1, 1, 1, 0),
    middle: int | None = 1,
    context: int = 768,
    channels: int = 4,
    linear: bool = False,
    label: int | None = None,
    blocks: int = 2,
    down: tuple[tuple[int, ...], ...] | None = None,
    up: tuple[tuple[int, ...], ...] | None = None,
) -> Names:
    """A UNet. depths: transformer blocks of each level; down, up (deepest first): those of each of a level's layers.

    middle: of the middle; 0: a residual block alone; None: there is no middle.
    """
    time, first = 4 * widths[0], widths[0]
    downs = down or tuple((d,) * blocks for d in depths)
    ups = up or tuple((d,) * (blocks + 1) for d in reversed(depths))

    def pairs() -> Iterator[tuple[str, Shape]]:
        yield from _both("time_embed.0", time, first)
        yield from _both("time_embed.2", time, time)
        if label:
            yield from _both("label_emb.0.0", time, label)
            yield from _both("label_emb.0.2", time, time)
        yield from _both("input_blocks.0.0", first, channels, 3, 3)
        made, c, n = [first], first, 1
        for level, width in enumerate(widths):
            for depth in downs[level]:
                yield from _resnet(f"input_blocks.{n}.0", c, width, time)
                if depth:
                    yield from _attention(f"input_blocks.{n}.1", width, depth, context, linear)
                c, n = width, n + 1
                made.append(c)
            if level < len(widths) - 1:
                yield from _both(f"input_blocks.{n}.0.op", c, c, 3, 3)
                made.append(c)
                n += 1
        if middle is not None:
            yield from _resnet("middle_block.0", c, c, time)
            if middle:
                yield from _attention("middle_block.1", c, middle, context, linear)
                yield from _resnet("middle_block.2", c, c, time)
        n = 0
        for k, width in enumerate(reversed(widths)):
            for j, depth in enumerate(ups[k]):
                yield from _resnet(f"output_blocks.{n}.0", c + made.pop(), width, time)
                c = width
                if depth:
                    yield from _attention(f"output_blocks.{n}.1", c, depth, context, linear)
                if j == len(ups[k]) - 1 and k < len(widths) - 1:
                    yield from _both(f"output_blocks.{n}.{2 if depth else 1}.conv", c, c, 3, 3)
                n += 1
        yield from _both("out.0", c)
        yield from _both("out.2", 4, c, 3, 3)

    return dict(pairs())


def vae(widths: tuple[int, ...] = (128, 256, 512, 512), blocks: int = 2) -> Names:
    def block(name: str, i: int, o: int) -> Iterator[tuple[str, Shape]]:
        yield from _both(f"{name}.norm1", i)
        yield from _both(f"{name}.conv1", o, i, 3, 3)
        yield from _both(f"{name}.norm2", o)
        yield from _both(f"{name}.conv2", o, o, 3, 3)
        if i != o:
            yield from _both(f"{name}.nin_shortcut", o, i, 1, 1)

    def middle(side: str, c: int) -> Iterator[tuple[str, Shape]]:
        for n in (1, 2):
            yield from block(f"{side}.mid.block_{n}", c, c)
        yield from _both(f"{side}.mid.attn_1.norm", c)
        for one in ("q", "k", "v", "proj_out"):
            yield from _both(f"{side}.mid.attn_1.{one}", c, c, 1, 1)

    def pairs() -> Iterator[tuple[str, Shape]]:
        last, c = widths[-1], widths[0]
        yield from _both("encoder.conv_in", c, 3, 3, 3)
        for i, width in enumerate(widths):
            for j in range(blocks):
                yield from block(f"encoder.down.{i}.block.{j}", c, width)
                c = width
            if i < len(widths) - 1:
                yield from _both(f"encoder.down.{i}.downsample.conv", c, c, 3, 3)
        yield from middle("encoder", last)
        yield from _both("encoder.norm_out", last)
        yield from _both("encoder.conv_out", 8, last, 3, 3)
        yield from _both("decoder.conv_in", last, 4, 3, 3)
        yield from middle("decoder", last)
        for i in reversed(range(len(widths))):
            for j in range(blocks + 1):
                yield from block(f"decoder.up.{i}.block.{j}", c, widths[i])
                c = widths[i]
            if i > 0:
                yield from _both(f"decoder.up.{i}.upsample.conv", c, c, 3, 3)
        yield from _both("decoder.norm_out", c)
        yield from _both("decoder.conv_out", 3, c, 3, 3)
        yield from _both("quant_conv", 8, 8, 1, 1)
        yield from _both("post_quant_conv", 4, 4, 1, 1)

    return dict(pairs())


def clip(width: int = 768, layers: int = 12, tokens: int = 49408) -> Names:
    """Less `text_model.`."""

    def pairs() -> Iterator[tuple[str, Shape]]:
        yield "embeddings.token_embedding.weight", (tokens, width)
        yield "embeddings.position_embedding.weight", (77, width)
        yield "embeddings.position_ids", (1, 77)
        for n in range(layers):
            layer = f"encoder.layers.{n}"
            for one in ("q_proj", "k_proj", "v_proj", "out_proj"):
                yield from _both(f"{layer}.self_attn.{one}", width, width)
            yield from _both(f"{layer}.layer_norm1", width)
            yield from _both(f"{layer}.layer_norm2", width)
            yield from _both(f"{layer}.mlp.fc1", 4 * width, width)
            yield from _both(f"{layer}.mlp.fc2", width, 4 * width)
        yield from _both("final_layer_norm", width)

    return dict(pairs())


def open_clip(width: int = 1024, layers: int = 24, tokens: int = 49408) -> Names:
    def pairs() -> Iterator[tuple[str, Shape]]:
        yield "positional_embedding", (77, width)
        yield "token_embedding.weight", (tokens, width)
        yield "text_projection", (width, width)
        yield "logit_scale", ()
        for n in range(layers):
            block = f"transformer.resblocks.{n}"
            yield f"{block}.attn.in_proj_weight", (3 * width, width)
            yield f"{block}.attn.in_proj_bias", (3 * width,)
            yield from _both(f"{block}.attn.out_proj", width, width)
            yield from _both(f"{block}.ln_1", width)
            yield from _both(f"{block}.ln_2", width)
            yield from _both(f"{block}.mlp.c_fc", 4 * width, width)
            yield from _both(f"{block}.mlp.c_proj", width, 4 * width)
        yield from _both("ln_final", width)

    return dict(pairs())


def under(prefix: str, names: Names) -> Names:
    return {prefix + name: shape for name, shape in names.items()}


SD1_TEXT, SD2_TEXT = "cond_stage_model.transformer.text_model.", "cond_stage_model.model."
XL_TEXTS = "conditioner.embedders.0.transformer.text_model.", "conditioner.embedders.1.model."
XL_UNET = {
    "widths": (320, 640, 1280),
    "depths": (0, 2, 10),
    "middle": 10,
    "context": 2048,
    "linear": True,
    "label": 2816,
}


def _whole(net: Names, *texts: Names) -> Names:
    return {k: v for part in (under("model.diffusion_model.", net), under("first_stage_model.", vae()), *texts)
            for k, v in part.items()}  # fmt: skip


def full_size() -> dict[str, Names]:
    """The names and shapes of the families' files."""
    one, two = under(SD1_TEXT, clip()), under(SD2_TEXT, open_clip())
    both = under(XL_TEXTS[0], clip()) | under(XL_TEXTS[1], open_clip(1280, 32))
    xl = unet(**XL_UNET)  # type: ignore[arg-type]
    distilled = {**XL_UNET, "middle": 0}
    return {
        "sd1": _whole(unet(), one),
        "sd1-inpainting": _whole(unet(channels=9), one),
        "sd2": _whole(unet(context=1024, linear=True), two),
        "sd2-inpainting": _whole(unet(context=1024, linear=True, channels=9), two),
        "xl": _whole(xl, both),
        "xl-inpainting": _whole(unet(**{**XL_UNET, "channels": 9}), both),  # type: ignore[arg-type]
        "ssd-1b": _whole(
            unet(**{**distilled, "down": ((0, 0), (2, 2), (4, 4)), "up": ((4, 4, 10), (2, 1, 1), (0, 0, 0))}),  # type: ignore[arg-type]
            both,
        ),
        "vega": _whole(
            unet(**{**distilled, "down": ((0, 0), (1, 1), (2, 2)), "up": ((2, 2, 2), (1, 1, 1), (0, 0, 0))}),  # type: ignore[arg-type]
            both,
        ),
        "bk-sdm-small": _whole(unet(middle=None, blocks=1), one),
    }


def sparse(
    file: Path, names: Mapping[str, Shape], kind: str = "F16", size: int = 2, metadata: Mapping[str, str] | None = None
) -> Path:
    """A file of zeros with these tensors, which takes no room on the disk."""
    header: dict[str, object] = {"__metadata__": dict(metadata)} if metadata else {}
    at = 0
    for name, shape in names.items():
        length = size * int(np.prod(shape, dtype=np.int64))
        header[name] = {"dtype": kind, "shape": list(shape), "data_offsets": [at, at + length]}
        at += length
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with file.open("wb") as out:
        out.write(struct.pack("<Q", len(text)) + text)
        out.truncate(8 + len(text) + at)
    return file


def small(family: str, seed: int = 0) -> dict[str, np.ndarray]:
    """Random numbers under the names of a family's file, in nets as small as their groups and heads allow."""
    return dict(_small(family, seed))


@cache
def _small(family: str, seed: int) -> dict[str, np.ndarray]:
    """`small`, drawn once: its arrays are everybody's."""
    rng = np.random.default_rng(seed)
    one = under(SD1_TEXT, clip(64, 2))
    vae_names = under("first_stage_model.", vae((32, 32, 32, 32), 1))
    nets = {
        "sd1": (unet((32, 64, 64, 64), context=64, blocks=1), one),
        "inpainting": (unet((32, 64, 64, 64), context=64, blocks=1, channels=9), one),
        "sd2": (
            unet((64, 64, 64, 64), context=128, linear=True, blocks=1),
            under(SD2_TEXT, open_clip(128, 24)),
        ),
        "xl": (
            unet((64, 64, 64), (0, 1, 2), 2, 128, linear=True, label=64 + 6 * 256),
            under(XL_TEXTS[0], clip(64, 3)) | under(XL_TEXTS[1], open_clip(64, 3)),
        ),
    }
    net, texts = nets[family]
    names = under("model.diffusion_model.", net) | vae_names | texts

    def numbers(name: str, shape: Shape) -> np.ndarray:
        if name.endswith("position_ids"):
            return np.arange(77, dtype=np.int64)[None]
        scale = 0.2 if len(shape) < 2 else 0.9 / np.sqrt(np.prod(shape[1:]))
        norm = 1.0 if len(shape) == 1 and name.endswith("weight") else 0.0
        return (norm + scale * rng.normal(size=shape)).astype(np.float32)

    return {name: numbers(name, shape) for name, shape in names.items()}


def write(file: Path, tensors: Mapping[str, np.ndarray], **metadata: str) -> Path:
    save_file({name: np.ascontiguousarray(array) for name, array in tensors.items()}, file, metadata or None)
    return file
