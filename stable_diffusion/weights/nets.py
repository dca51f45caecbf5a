"""A folder in the diffusers layout to nets: which nets there are, that they belong together, and in what precision."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx

from ..config import CLIPTextConfig, UNetConfig, VAEConfig
from ..diffusion.schedule import NoiseSchedule
from ..models.clip import CLIPTextModel
from ..models.text import TextNets
from ..models.tokenizer import CLIPTokenizer
from ..models.unet import UNet2DConditionModel
from ..models.vae import AutoencoderKL
from . import names
from .checkpoint import CheckpointError, TokenizerFiles, load, read_json, read_tokenizer, weight_files


@dataclass(frozen=True)
class Description:
    """What a checkpoint is, by its config files alone."""

    folder: Path
    unet: UNetConfig
    vae: VAEConfig
    texts: tuple[CLIPTextConfig, ...]  # one, or XL's two
    schedule: NoiseSchedule
    scheduler_config: Mapping[str, Any]
    zero_empty_negative: bool  # XL: an empty negative prompt is zeros, and not the encoding of no words

    @property
    def xl(self) -> bool:
        """Is it an XL, with two text encoders?"""
        return len(self.texts) == 2


@dataclass(frozen=True)
class Nets:
    """The nets of a checkpoint, their weights not yet read."""

    unet: UNet2DConditionModel
    autoencoder: AutoencoderKL
    texts: TextNets


def describe(folder: Path) -> Description:
    """The checkpoint in a folder, without a look at its weights.

    Raises CheckpointError, one sentence, for what is missing, damaged, unknown, or does not fit together.
    """
    index = read_json(folder / "model_index.json")

    def listed(part: str) -> bool:
        entry = index.get(part)
        return isinstance(entry, list) and bool(entry) and bool(entry[0])

    if not listed("text_encoder"):
        raise CheckpointError(f"{folder} has no text_encoder: XL's refiner and its like are not supported")
    suffixes = ("", "_2") if listed("text_encoder_2") else ("",)
    texts = tuple(_config(CLIPTextConfig, folder / f"text_encoder{suffix}" / "config.json") for suffix in suffixes)
    unet = _config(UNetConfig, folder / "unet" / "config.json")
    vae = _config(VAEConfig, folder / "vae" / "config.json")
    _check_fit(folder, unet, vae, texts)
    scheduler = folder / "scheduler" / "scheduler_config.json"
    schedule = _config(NoiseSchedule, scheduler)
    if schedule.zero_terminal_snr and schedule.prediction_type == "epsilon":
        # The last level is noise alone: told to predict the noise, a net has nothing left to say.
        raise CheckpointError(f"{scheduler}: rescale_betas_zero_snr needs v_prediction, and prediction_type is epsilon")
    return Description(
        folder=folder,
        unet=unet,
        vae=vae,
        texts=texts,
        schedule=schedule,
        scheduler_config=read_json(scheduler),
        zero_empty_negative=bool(index.get("force_zeros_for_empty_prompt", len(suffixes) == 2)),
    )


def open_nets(description: Description, dtype: mx.Dtype) -> Nets:
    """The nets of a checkpoint, float16 or float32; an autoencoder whose config says `force_upcast` stays float32.

    Raises CheckpointError, one sentence, for what is missing, damaged or of another shape.
    """

    def net(kind: Any, config: Any, part: str, table: names.Table, dtype: mx.Dtype) -> Any:
        module = kind(config)
        load(module, weight_files(description.folder / part, half=dtype == mx.float16), table, dtype)
        return module

    encoders, tokenizers = [], []
    for suffix, text in zip(("", "_2"), description.texts, strict=False):
        encoders.append(net(CLIPTextModel, text, f"text_encoder{suffix}", names.TEXT_ENCODER, dtype))
        tokenizers.append(open_tokenizer(description.folder / f"tokenizer{suffix}", text))
    vae = description.vae
    return Nets(
        unet=net(UNet2DConditionModel, description.unet, "unet", names.UNET, dtype),
        autoencoder=net(AutoencoderKL, vae, "vae", names.VAE, mx.float32 if vae.force_upcast else dtype),
        texts=TextNets(encoders, tokenizers, description.xl),
    )


def open_tokenizer(folder: Path, text: CLIPTextConfig) -> CLIPTokenizer:
    """The tokenizer of a text encoder. Raises CheckpointError, one sentence."""
    try:
        files = read_tokenizer(folder)
        _check_tokens(folder, files, text)
        return CLIPTokenizer(*files)
    except (CheckpointError, TypeError, ValueError) as error:
        message = str(error) if isinstance(error, CheckpointError) else f"{folder}: {error}"
        raise CheckpointError(" ".join(message.split())) from None


def _check_tokens(folder: Path, files: TokenizerFiles, text: CLIPTextConfig) -> None:
    """Raise CheckpointError for tokens that the text encoder has no row for: MLX would read behind its table's end."""
    for token, i in files.vocab.items():
        if isinstance(i, bool) or not isinstance(i, int) or not 0 <= i < text.vocab_size:
            raise CheckpointError(
                f"{folder}: the token {token!r} has the id {i!r}, and the text encoder knows 0 to {text.vocab_size - 1}"
            )
    if files.length > text.max_position_embeddings:
        most = text.max_position_embeddings
        raise CheckpointError(f"{folder}: texts of {files.length} tokens, and the text encoder takes {most}")


def _check_fit(folder: Path, unet: UNetConfig, vae: VAEConfig, texts: Sequence[CLIPTextConfig]) -> None:
    widths = [text.hidden_size for text in texts]
    if sum(widths) != unet.cross_attention_dim:
        raise CheckpointError(f"{folder}: text encoders of width {widths} and a UNet of {unet.cross_attention_dim}")
    if unet.in_channels not in (vae.latent_channels, 2 * vae.latent_channels + 1):
        raise CheckpointError(f"{folder}: a UNet of {unet.in_channels} channels, and latents of {vae.latent_channels}")
    if unet.out_channels != vae.latent_channels:
        raise CheckpointError(f"{folder}: a UNet that gives {unet.out_channels} and latents of {vae.latent_channels}")


def _config(kind: Any, path: Path) -> Any:
    """A config dataclass from its file. Raises CheckpointError, which names the file."""
    try:
        return kind.from_diffusers(read_json(path))
    except CheckpointError:
        raise
    except ValueError as error:
        raise CheckpointError(f"{path}: {error}") from None
