"""One file with everything, in LDM's names, as the parts of a checkpoint."""

import re
from collections.abc import Iterator, Mapping
from functools import partial
from operator import itemgetter
from pathlib import Path
from typing import Any

import mlx.core as mx

from ..config import UNetConfig, VAEConfig
from ..presets import predicts_sample
from . import family as families
from . import shapes as configs
from .checkpoint import CONVERT, CheckpointError, TokenizerFiles
from .family import EMA, NOT_WEIGHTS, OPEN_CLIP, UNET, Family
from .kinds import family_of, listed
from .ldm import QKV, open_clip_prefixes, renamed, swapped, unet_prefixes, vae_prefixes
from .manifest import manifest_in
from .parts import Checkpoint, Part, Tokenizer
from .scales import scales_of
from .shapes import told
from .tensors import Header, Tensor, check_numbers, open_tensors, read_header
from .vocabulary import openai_tokenizer

V_SIGN = "output_blocks.11.1.transformer_blocks.0.norm1.bias"  # spreads more in SD 2.x nets that predict v
V_SPREAD = 0.09
MOST_EMA = 100  # names; fewer are left over by mistake
UNUSED = re.compile(r"(loss|model_ema)\..*")  # of an autoencoder: what it was trained against, and its averages
BLOCK = re.compile(r"(input_blocks|output_blocks)\.(\d+)\.")


def single_checkpoint(file: Path, without_vae: bool = False) -> Checkpoint:
    """The checkpoint in one file, known by its header; without_vae: it need not have an autoencoder.

    Raises CheckpointError, one sentence, for a file that is damaged or something else.
    """
    if file.suffix.lower() in (".ckpt", ".pt", ".pth", ".bin"):
        raise CheckpointError(
            f"{file} is a pickle, which may run code when it is read: make a folder or a .safetensors file of it first "
            f"with {CONVERT}, which reads it without running any"
        )
    header = read_header(file)
    family = family_of(header)
    check_numbers(header)
    asks = f"an {family.name} model"
    named, unet = _counted_through(header.under(UNET))
    parts = {}
    for suffix, (naming, prefix) in zip(("", "_2"), family.texts, strict=False):
        parts[f"text_encoder{suffix}"] = _text_part(header, naming, prefix, bool(suffix), asks)
    with told(file, "UNet"):
        said = manifest_in(header)
        config = configs.unet_config(unet, family, file) if said is None else dict(said.configs["unet"])
        prefixes = swapped(unet_prefixes(UNetConfig.from_diffusers(config)))
    parts["unet"] = _part(header, config, UNET, lambda name: renamed(named[name], prefixes), asks)
    vae = next((prefix for prefix in families.VAES if header.under(prefix)), None)
    if vae is not None:
        parts["vae"] = vae_part(header, vae, family.scaling, family.force_upcast)
    elif not without_vae:
        raise CheckpointError(f"{file} has no autoencoder: name one with --vae, a folder, a Hub repo or a file")
    known = (UNET, *families.VAES, *(prefix for _, prefix in family.texts))
    strange = [n for n in header.shapes if not n.startswith(known) and not NOT_WEIGHTS.fullmatch(n)]
    strange += unused_in_autoencoder(header, vae) if vae is not None else []
    kind, zero, why = prediction(header, family)
    vocabulary = [Tokenizer(file, partial(_vocabulary, naming)) for naming, _ in family.texts]
    index = {"text_encoder": ["transformers", "CLIPTextModel"]}
    if len(family.texts) > 1:
        index["text_encoder_2"] = ["transformers", "CLIPTextModelWithProjection"]
    if family.name == "SD 2.x" and kind == "v_prediction":
        config["sample_size"] = 96
    notes = _notes(header, family, config, sorted(strange))
    checkpoint = Checkpoint(file, parts, vocabulary, scheduler_config(kind, zero), file, index, notes, predicts=why)
    return checkpoint if said is None else said.on(checkpoint)


def _notes(header: Header, family: Family, config: Mapping[str, Any], strange: list[str]) -> tuple[str, ...]:
    """What a file was taken for, and what in it is not used."""
    side = 8 * config["sample_size"]
    distilled = ", distilled to fewer layers" if "mid_block_type" in config or config["layers_per_block"] != 2 else ""
    inpainting = ", for repainting under a mask" if config["in_channels"] == 9 else ""
    numbers = families.precision(header)
    scaled = scales_of(header.file, header.entries, header.metadata)
    read = {"fp8": ", times their scales" if scaled else ", read as half precision", "fp64": ", read as fp32"}
    made = [
        f"{header.file.name} is an {family.name} model{inpainting}{distilled}, {side} x {side} "
        f"({numbers}{read.get(numbers, '')}), by its header"
    ]
    ema = sum(name.startswith(EMA) for name in header.shapes)
    if ema > MOST_EMA:
        made.append(f"{header.file.name} also has averaged weights (EMA), which are not used")
    if strange:
        made.append(f"{header.file.name} has tensors that are not used: {listed(strange)}")
    return tuple(made)


def scheduler_config(kind: str, zero: bool) -> dict[str, Any]:
    """The scheduler_config.json that Stable Diffusion's own folders have."""
    return {
        "_class_name": "DDIMScheduler",
        "beta_schedule": "scaled_linear",
        "beta_start": 0.00085,
        "beta_end": 0.012,
        "num_train_timesteps": 1000,
        "clip_sample": False,
        "set_alpha_to_one": False,
        "steps_offset": 1,
        "timestep_spacing": "trailing" if zero else "leading",
        "prediction_type": kind,
        "rescale_betas_zero_snr": zero,
    }


def prediction(header: Header, family: Family) -> tuple[str, bool, str]:
    """What a file's UNet predicts, whether its highest level is noise alone, and by what that is known.

    The header says it, the weights or the name show it, or it is what nearly all predict: the end of a sentence.
    """
    zero = "ztsnr" in header.shapes
    if "v_pred" in header.shapes:
        return "v_prediction", zero, ", and predicts v"
    said = header.metadata.get("modelspec.prediction_type", "").lower()
    if said in ("v", "v_prediction", "v-prediction"):
        return "v_prediction", zero, ", and predicts v"
    if said in ("epsilon", "eps"):
        return "epsilon", False, ", and predicts the noise"
    if said in ("sample", "x0"):
        return "sample", False, ", and predicts the clean picture"
    if predicts_sample(header.file.name):
        return "sample", False, "; by its name it predicts the clean picture"
    four = header.shapes[f"{UNET}input_blocks.0.0.weight"][1] == 4
    if family.name == "SD 2.x" and four and UNET + V_SIGN in header.shapes:
        tensors, _ = open_tensors(header.file, UNET + V_SIGN)
        if bool(mx.std(tensors[UNET + V_SIGN].astype(mx.float32)) > V_SPREAD):
            return "v_prediction", False, "; by its weights it predicts v"
        return "epsilon", False, "; by its weights it predicts the noise"
    return "epsilon", False, "; it is taken to predict the noise, as nearly all do"


def _vocabulary(naming: str) -> TokenizerFiles:
    vocab, merges, end = openai_tokenizer()
    return TokenizerFiles(vocab, merges, "!" if naming == OPEN_CLIP else end, 77, {})


def _counted_through(shapes: Mapping[str, tuple[int, ...]]) -> tuple[dict[str, str], dict[str, tuple[int, ...]]]:
    """The names, and shapes, of a UNet whose blocks' numbers have gaps, as if they had none."""
    numbers: dict[str, set[int]] = {}
    for name in shapes:
        if found := BLOCK.match(name):
            numbers.setdefault(found[1], set()).add(int(found[2]))
    rank = {(side, n): i for side, found in numbers.items() for i, n in enumerate(sorted(found))}

    def counted(name: str) -> str:
        found = BLOCK.match(name)
        return name if not found else f"{found[1]}.{rank[found[1], int(found[2])]}.{name[found.end() :]}"

    names = {name: counted(name) for name in shapes}
    return names, {names[name]: shape for name, shape in shapes.items()}


def _part(
    header: Header, config: Mapping[str, Any], prefix: str, ours: Any, asks: str, unused: re.Pattern[str] = NOT_WEIGHTS
) -> Part:
    """A net whose tensors have a prefix, and besides that names that `ours` translates; None: as it is called here.

    unused: those behind the prefix that no weights are.
    """

    def tensors(_half: bool) -> Iterator[Tensor]:
        arrays, _ = open_tensors(header.file, prefix)
        for name, array in sorted(arrays.items(), key=itemgetter(0)):
            rest = name[len(prefix) :]
            if not NOT_WEIGHTS.fullmatch(name) and not unused.fullmatch(rest):
                yield Tensor(header.file, name, ours(rest) or rest, array)

    return Part(config, header.file, tensors, lambda _: [header.file], asks)


def vae_part(header: Header, prefix: str, scaling: float, force_upcast: bool) -> Part:
    """An autoencoder in LDM's names."""
    shapes = header.under(prefix)
    with told(header.file, "autoencoder"):
        config = configs.vae_config(shapes, scaling, force_upcast)
        prefixes = swapped(vae_prefixes(VAEConfig.from_diffusers(config)))
    return _part(header, config, prefix, lambda name: renamed(name, prefixes), "an autoencoder", UNUSED)


def unused_in_autoencoder(header: Header, prefix: str) -> list[str]:
    """Tensors among an autoencoder's that were there for its training."""
    return sorted(prefix + name for name in header.under(prefix) if UNUSED.fullmatch(name))


def _text_part(header: Header, naming: str, prefix: str, projected: bool, asks: str) -> Part:
    shapes = header.under(prefix)
    with told(header.file, "text encoder"):
        if naming == OPEN_CLIP:
            return _open_clip(header, prefix, configs.open_clip_config(shapes, projected), projected, asks)
        inner = {name.removeprefix("text_model."): shape for name, shape in shapes.items()}
        config = configs.clip_config(inner)
    part = _part(header, config, prefix, lambda name: name.removeprefix("text_model."), asks)
    # Some tools add the projection that CLIP has, and that Stable Diffusion never used.
    return _but(part, lambda tensor: tensor.ours != "text_projection.weight")


def _but(part: Part, keep: Any) -> Part:
    return Part(part.config, part.source, lambda half: filter(keep, part.tensors(half)), part.files, part.asks)


def _open_clip(header: Header, prefix: str, config: Mapping[str, Any], projected: bool, asks: str) -> Part:
    """OpenCLIP's text encoder: q, k and v are cut out of one array, and the projection is turned."""
    layers = config["num_hidden_layers"]
    prefixes = swapped(open_clip_prefixes(layers))

    def tensors(half: bool) -> Iterator[Tensor]:
        for file, name, rest, array in plain.tensors(half):
            found = re.fullmatch(r"transformer\.resblocks\.(\d+)\.attn\.in_proj_(weight|bias)", rest)
            block = re.match(r"transformer\.resblocks\.(\d+)\.", rest)
            if block and int(block[1]) >= layers:
                continue  # of SD 2.x, whose last layer is not used
            if rest.startswith("text_projection"):
                if projected:
                    turned = array.T if rest == "text_projection" else array
                    yield Tensor(file, name, "text_projection.weight", turned)
            elif found:
                if not array.ndim or array.shape[0] % 3:
                    raise CheckpointError(f"{file}: {name!r} has shape {tuple(array.shape)}, and not three equal parts")
                for one, rows in zip(QKV, mx.split(array, 3), strict=True):
                    yield Tensor(file, name, f"encoder.layers.{found[1]}.self_attn.{one}.{found[2]}", rows)
            else:
                yield Tensor(file, name, renamed(rest, prefixes) or rest, array)

    plain = _part(header, config, prefix, lambda name: name, asks)
    return Part(config, plain.source, tensors, plain.files, asks)
