"""A checkpoint to nets: which nets there are, that they belong together, and in what precision."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from ..config import CLIPTextConfig, TinyVAEConfig, UNetConfig, VAEConfig
from ..diffusion.schedule import NoiseSchedule
from ..models.clip import CLIPTextModel
from ..models.taesd import TinyAutoencoder
from ..models.unet import UNet2DConditionModel
from ..models.vae import AutoencoderKL
from ..prompts.tokenizer import CLIPTokenizer
from .checkpoint import CheckpointError, TokenizerFiles
from .parts import TINY, Checkpoint, Part, Tokenizer, folder_checkpoint
from .quantize import prepare, quantize
from .single import single_checkpoint
from .tensors import load

PREDICTED = {"epsilon": "the noise", "v_prediction": "v", "sample": "the clean picture"}


@dataclass(frozen=True)
class Description:
    """What a checkpoint is, by its config files, or by the header of its one file."""

    checkpoint: Checkpoint
    unet: UNetConfig
    vae: VAEConfig | TinyVAEConfig
    texts: tuple[CLIPTextConfig, ...]  # one, or XL's two
    schedule: NoiseSchedule
    scheduler_config: Mapping[str, Any]
    zero_empty_negative: bool  # XL: an empty negative prompt is zeros, and not the encoding of no words
    predicts: str = ""  # by what it is known what the UNet predicts, as the end of the first note

    @property
    def xl(self) -> bool:
        """Is it an XL, with two text encoders?"""
        return len(self.texts) == 2

    @property
    def family(self) -> str:
        """What to call its kind: LoRAs and embeddings are for one of these."""
        return "SD XL" if self.xl else "SD 2.x" if self.unet.cross_attention_dim == 1024 else "SD 1.x"

    def coding(self, dtype: mx.Dtype) -> mx.Dtype:
        """What the autoencoder calculates with where the other nets take this dtype.

        XL's overflows in half precision, unless its config says that it was mended (force_upcast false). Those of SD
        1.x and 2.x do not, though newer copies of their configs say force_upcast: diffusers too heeds it in XL alone.
        """
        return mx.float32 if self.xl and self.vae.force_upcast else dtype

    @property
    def notes(self) -> tuple[str, ...]:
        """What a person should know of it, in sentences."""
        first, *rest = self.checkpoint.notes or ("",)
        return tuple(filter(None, (first + self.predicts, *rest)))


def checkpoint_at(place: Path, without_vae: bool = False) -> Checkpoint:
    """The checkpoint in a folder in the diffusers layout, or in one file. Raises CheckpointError."""
    return single_checkpoint(place, without_vae) if place.is_file() else folder_checkpoint(place)


def describe(place: Path | Checkpoint, prediction: str | None = None) -> Description:
    """What a checkpoint is, without a look at its weights.

    prediction: what it predicts, where it does not say, or says it wrongly. Raises CheckpointError, one sentence, for
    what is missing, damaged, unknown, or does not fit together.
    """
    checkpoint = place if isinstance(place, Checkpoint) else checkpoint_at(place)
    names = checkpoint.text_encoders
    texts = tuple(_config(CLIPTextConfig, checkpoint.parts[name]) for name in names)
    unet = _config(UNetConfig, checkpoint.parts["unet"])
    vae = _autoencoder_config(checkpoint.parts["vae"])
    _check_fit(checkpoint.place, unet, vae, texts)
    schedule = _read(NoiseSchedule, checkpoint.scheduler, checkpoint.scheduler_source)
    scheduler, predicts = checkpoint.scheduler, checkpoint.predicts
    if predicts and prediction is not None:
        predicts = f"; --prediction says that it predicts {PREDICTED[prediction]}"
    if prediction is not None and prediction != schedule.prediction_type:
        # The highest level of a zero-terminal schedule is noise alone, of which a predicted noise tells nothing.
        zero = schedule.zero_terminal_snr and prediction != "epsilon"
        schedule = replace(schedule, prediction_type=prediction, zero_terminal_snr=zero)
        scheduler = {**scheduler, "prediction_type": prediction, "rescale_betas_zero_snr": zero}
    if schedule.zero_terminal_snr and schedule.prediction_type == "epsilon":
        # The last level is noise alone: told to predict the noise, a net has nothing left to say.
        raise CheckpointError(
            f"{checkpoint.scheduler_source}: rescale_betas_zero_snr needs v_prediction, and prediction_type is epsilon"
        )
    return Description(
        checkpoint=checkpoint,
        unet=unet,
        vae=vae,
        texts=texts,
        schedule=schedule,
        scheduler_config=scheduler,
        predicts=predicts,
        zero_empty_negative=bool(checkpoint.index.get("force_zeros_for_empty_prompt", len(names) == 2)),
    )


def open_net(description: Description, name: str, dtype: mx.Dtype) -> Any:
    """A net of a checkpoint by the name of its part, float16 or float32, its weights not yet read.

    The autoencoder is as `Description.coding` has it.

    Raises CheckpointError, one sentence, for what is missing, damaged or of another shape.
    """
    part = description.checkpoint.parts[name]
    if name == "vae":
        return open_autoencoder(part, description.coding(dtype), dtype == mx.float16)
    net = _empty(description, name)
    load(net, part.tensors(dtype == mx.float16), dtype, part.asks)
    return net


def sized_nets(description: Description, dtype: mx.Dtype, kind: int | str | None = None) -> dict[str, nn.Module]:
    """Nets like those of a checkpoint, without a look at its weights: how many numbers they have, and of what kind.

    kind: what the weights of all but the autoencoder are quantised to. Raises what `open_net` raises.
    """
    nets: dict[str, nn.Module] = {}
    for name in ("unet", *description.checkpoint.text_encoders):
        nets[name] = _empty(description, name)
        nets[name].set_dtype(dtype)
        if kind is not None:
            quantize(nets[name], kind)
    nets["autoencoder"] = _empty_autoencoder(description.checkpoint.parts["vae"])
    nets["autoencoder"].set_dtype(description.coding(dtype))
    return nets


def open_autoencoder(part: Part, dtype: mx.Dtype, half: bool) -> AutoencoderKL | TinyAutoencoder:
    """An autoencoder of either kind, its weights not yet read; half: from a checkpoint's smaller files.

    Raises CheckpointError.
    """
    net = _empty_autoencoder(part)
    load(net, part.tensors(half), dtype, part.asks)
    return net


def _empty(description: Description, name: str) -> Any:
    part = description.checkpoint.parts[name]
    net: UNet2DConditionModel | CLIPTextModel
    if name == "unet":
        net = UNet2DConditionModel(description.unet)
    else:
        net = CLIPTextModel(description.texts[description.checkpoint.text_encoders.index(name)])
    prepare(net, part.config, part.source)
    return net


def _empty_autoencoder(part: Part) -> AutoencoderKL | TinyAutoencoder:
    config = _autoencoder_config(part)
    net = TinyAutoencoder(config) if isinstance(config, TinyVAEConfig) else AutoencoderKL(config)
    prepare(net, part.config, part.source)
    return net


def _autoencoder_config(part: Part) -> VAEConfig | TinyVAEConfig:
    config: VAEConfig | TinyVAEConfig = _config(
        TinyVAEConfig if part.config.get("_class_name") == TINY else VAEConfig, part
    )
    return config


def open_tokenizer(tokenizer: Tokenizer, text: CLIPTextConfig) -> CLIPTokenizer:
    """The tokenizer of a text encoder. Raises CheckpointError, one sentence."""
    try:
        files = tokenizer.read()
        _check_tokens(tokenizer.where, files, text)
        return CLIPTokenizer(*files)
    except (CheckpointError, TypeError, ValueError) as error:
        message = str(error) if isinstance(error, CheckpointError) else f"{tokenizer.where}: {error}"
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


def _check_fit(folder: Path, unet: UNetConfig, vae: VAEConfig | TinyVAEConfig, texts: Sequence[CLIPTextConfig]) -> None:
    widths = [text.hidden_size for text in texts]
    if unet.addition_embed_type is not None and len(texts) < 2:
        raise CheckpointError(f"{folder}: a UNet that is told a pooled text and sizes, as XL's, and one text encoder")
    pooled = texts[-1].projection_dim if unet.addition_embed_type is not None else None
    if pooled is not None:
        told, sizes = unet.projection_class_embeddings_input_dim, 6 * unet.addition_time_embed_dim
        if told != pooled + sizes:
            raise CheckpointError(
                f"{folder}: a UNet that is told {told} numbers besides the text, and XL's is told {pooled + sizes}"
            )
    if sum(widths) != unet.cross_attention_dim:
        raise CheckpointError(f"{folder}: text encoders of width {widths} and a UNet of {unet.cross_attention_dim}")
    if unet.in_channels not in (vae.latent_channels, 2 * vae.latent_channels + 1):
        raise CheckpointError(f"{folder}: a UNet of {unet.in_channels} channels, and latents of {vae.latent_channels}")
    if unet.out_channels != vae.latent_channels:
        raise CheckpointError(f"{folder}: a UNet that gives {unet.out_channels} and latents of {vae.latent_channels}")


def _config(kind: Any, part: Part) -> Any:
    return _read(kind, part.config, part.source)


def _read(kind: Any, config: Mapping[str, Any], source: Path) -> Any:
    """A config dataclass from what its file says. Raises CheckpointError, which names the file."""
    try:
        return kind.from_diffusers(config)
    except ValueError as error:
        raise CheckpointError(f"{source}: {error}") from None
