"""An autoencoder that takes the place of a checkpoint's own: a folder or a file, in either naming, or TAESD."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from operator import itemgetter
from pathlib import Path
from typing import Any

from ..config import VAEConfig
from . import family as families
from . import shapes as configs
from .checkpoint import CheckpointError
from .kinds import VAE as VAE_OPTION
from .kinds import family_of, kind_of, mistaken
from .ldm import renamed, vae_prefixes
from .names import VAE
from .names import renamed as respelled
from .parts import TINY, Part, folder_part
from .single import unused_in_autoencoder, vae_part
from .tensors import Header, Tensor, check_numbers, open_tensors, read_header, tensors_of

MOST_LEVELS = 8
_UPSTREAM = re.compile(r"(\d+)\.")  # TAESD's own files count its layers, the decoder's clamp as the first of them


def autoencoder_part(place: Path, latents: Mapping[str, Any]) -> Part:
    """The autoencoder in a folder (or in its folder `vae`), or in a file.

    latents: `scaling_factor` and `force_upcast` of the one whose place it takes, which a file does not say.
    Raises CheckpointError for what holds none, or one for latents that are scaled otherwise.
    """
    if place.is_dir():
        folder = place / "vae" if (place / "vae" / "config.json").exists() else place
        part = folder_part(folder, VAE)
        if part.config.get("_class_name") != TINY:
            _check_scaling(folder, part.config.get("scaling_factor", families.SD1.scaling), latents)
        return part
    header = read_header(place)
    check_numbers(header)
    scaling, force_upcast = float(latents["scaling_factor"]), bool(latents["force_upcast"])
    names = header.shapes
    if "encoder.layers.0.weight" in names or "decoder.layers.0.weight" in names:
        return _tiny_part(header, [place])
    if kind_of(header).what == "one half of TAESD":
        return _tiny_part(header, _upstream_pair(place))
    for prefix in (*families.VAES, ""):
        if f"{prefix}encoder.down.0.block.0.conv1.weight" in names:
            _check_scaling(place, _scaling_of(header), latents)
            part = vae_part(header, prefix, scaling, force_upcast)
            return replace(part, unused=tuple(unused_in_autoencoder(header, prefix)))
    if "encoder.down_blocks.0.resnets.0.conv1.weight" in names:
        return _diffusers_part(header, scaling, force_upcast)
    raise mistaken(header, VAE_OPTION)


def _scaling_of(header: Header) -> float | None:
    """How a file's latents are scaled, where it says so by its UNet, or by its description; None: it does not."""
    if header.under(families.UNET):
        return family_of(header).scaling
    said = header.metadata.get("modelspec.architecture", "")
    known = {"stable-diffusion-v": families.SD1, "stable-diffusion-xl": families.XL}
    return next((family.scaling for begins, family in known.items() if said.startswith(begins)), None)


def _check_scaling(place: Path, scaling: Any, latents: Mapping[str, Any]) -> None:
    """Raise CheckpointError for an autoencoder of another family, whose pictures would silently be wrong."""
    if scaling is not None and scaling != latents["scaling_factor"]:
        raise CheckpointError(
            f"{place} is for latents that are scaled by {scaling}, as another family's are, and this model's are by "
            f"{latents['scaling_factor']}: name an autoencoder of this model's family"
        )


def _diffusers_part(header: Header, scaling: float, force_upcast: bool) -> Part:
    """A file in diffusers' names, whose config is told from its shapes."""
    # Levels are counted from the widest in both namings on the way down, which is all that a config is told from.
    many = vae_prefixes(VAEConfig(block_out_channels=(32,) * MOST_LEVELS, layers_per_block=MOST_LEVELS))
    shapes = {}
    for name, shape in header.shapes.items():
        ours = respelled(name, VAE)
        shapes[(renamed(ours, many) if ours else None) or name] = shape
    with configs.told(header.file, "autoencoder"):
        config = configs.vae_config(shapes, scaling, force_upcast)
    file = header.file
    return Part(config, file, lambda _: tensors_of([file], VAE), lambda _: [file], "an autoencoder")


def _upstream_pair(file: Path) -> list[Path]:
    """TAESD's own two files, of which one was named."""
    for one, other in (("decoder", "encoder"), ("encoder", "decoder")):
        if one in file.name:
            beside = file.with_name(file.name.replace(one, other))
            if not beside.exists():
                raise CheckpointError(f"{file} is one half of TAESD: {beside.name} is missing beside it")
            return sorted((file, beside))  # the decoder first
    raise CheckpointError(f"{file} is one half of TAESD, and its name does not say which: name the file of diffusers")


def _tiny_part(header: Header, files: list[Path]) -> Part:
    def ours(file: Path, name: str) -> str:
        found = _UPSTREAM.match(name)
        if not found:
            return name
        decodes = "decoder" in file.name
        return f"{'decoder' if decodes else 'encoder'}.layers.{int(found[1]) - decodes}.{name[found.end() :]}"

    def tensors(_half: bool) -> Iterator[Tensor]:
        for file in files:
            for name, array in sorted(open_tensors(file)[0].items(), key=itemgetter(0)):
                yield Tensor(file, name, ours(file, name), array)

    shapes = {ours(header.file, name): shape for name, shape in header.shapes.items()}
    with configs.told(header.file, "autoencoder"):
        latents = shapes.get("decoder.layers.0.weight", (0, 4))[1]
        widths = [shapes.get("decoder.layers.0.weight", shapes.get("encoder.layers.0.weight", (64,)))[0]] * 4
    config = {
        "_class_name": TINY,
        "latent_channels": latents,
        "encoder_block_out_channels": widths,
        "decoder_block_out_channels": widths,
    }
    return Part(config, header.file, tensors, lambda _: files, "TAESD")
