"""The command that is shown for a picture makes that picture."""

import shlex
from dataclasses import replace

import pytest
from PIL import Image

from stable_diffusion.cli.arguments import settings_of
from stable_diffusion.cli.options import add_common, add_start, add_variations
from stable_diffusion.cli.parser import Parser
from stable_diffusion.jobs.commands import command
from stable_diffusion.jobs.model import Model
from stable_diffusion.jobs.originals import Originals
from stable_diffusion.settings import CompleteSettings, Settings
from tests.recipes import MASK, ONE, OTHER, PLAIN

TYPED = replace(ONE, image_weight=0.0, n_images=1, perturb=((1, 0.5), (2**62, 1 / 3)))
LATER = replace(OTHER, image_weight=1.0, n_images=1, perturb=())


def parsed(text: str) -> tuple[str, Settings]:
    """What the parser of the commands makes of it: the command, and the settings."""
    name, *words = shlex.split(text)
    parser = Parser("A test.", [])
    if name == "image2image":
        parser.add_argument("image", nargs="?")
    parser.add_argument("prompt", nargs="?")
    for add in (add_start, add_common, add_variations):
        add(parser)
    args = parser.parse_args(words)
    found = settings_of(args, Settings())
    return name, replace(found, width=args.width, height=args.height, perturb=tuple(args.variation or ()))


@pytest.mark.parametrize("settings", [PLAIN, TYPED, LATER, replace(PLAIN, prompt="--a 'quoted'\nprompt", eta=0.0)])
def test_it_says_every_setting(settings: CompleteSettings) -> None:
    picture = (
        Originals(Image.new("RGB", (64, 48)), name="a photo.png") if settings.strength or settings.start_step else None
    )
    name, found = parsed(command(settings, Model("demo"), picture))
    assert name == ("image2image" if picture else "txt2image")
    for field in vars(settings):
        if field not in ("steps", "spacing") or (settings.sigmas is None and settings.times is None):
            assert getattr(found, field) == getattr(settings, field), field


def test_it_names_the_model_and_the_picture() -> None:
    text = command(PLAIN, Model("sd1.5", quantize=4), Originals(Image.new("RGB", (64, 48)), name="a photo.png"))
    assert text.startswith("image2image 'a photo.png' 'a house' --model sd1.5 --quantize 4")


def test_what_cannot_be_typed_is_refused() -> None:
    with pytest.raises(ValueError, match="can't be typed"):
        command(replace(PLAIN, perturb=((1, 0.5, MASK),)), Model("demo"))
