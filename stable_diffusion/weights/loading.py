"""From what a person calls a model, and what is to take the place of its parts, to a checkpoint."""

from dataclasses import replace

from ..presets import preset_of
from .autoencoders import autoencoder_part
from .checkpoint import CheckpointError
from .kinds import listed
from .locate import locate, locate_extra
from .names import UNET
from .nets import checkpoint_at
from .parts import Checkpoint
from .tensors import tensors_of


def open_checkpoint(model: str, half: bool, weights: bool = True, vae: str | None = None) -> Checkpoint:
    """The checkpoint of a preset, folder, file or repo, its weights not yet read; without them, its small files alone.

    vae: a folder, repo or file whose autoencoder takes the place of its own. Raises CheckpointError.
    """
    place = locate(model, half, weights)
    checkpoint = checkpoint_at(place, without_vae=vae is not None)
    preset = preset_of(model)
    if preset is not None and preset.unet is not None and weights:
        file = locate_extra(preset.unet, "a UNet")
        part = replace(
            checkpoint.parts["unet"],
            tensors=lambda _: tensors_of([file], UNET),
            files=lambda _: [file],
        )
        checkpoint = checkpoint.with_part("unet", part)
    if vae is not None:
        try:
            part = autoencoder_part(locate_extra(vae, "an autoencoder"), checkpoint.latents)
        except CheckpointError as error:
            raise CheckpointError(f"--vae {vae}: {error}") from None
        note = f"{vae} has tensors that are not used: {listed(part.unused)}"
        checkpoint = checkpoint.with_part("vae", part, *([note] if part.unused else []))
    return checkpoint
