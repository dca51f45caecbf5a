"""What a checkpoint would do with settings, told from its config files alone."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

import mlx.core as mx

from ..diffusion.aliases import sampler_name, spacing_name
from ..diffusion.noise import Noise, unpacked
from ..diffusion.plan import Plan, make_plan
from ..diffusion.samplers import SAMPLERS, Sampler, sampler_named
from ..diffusion.schedule import NoiseSchedule
from ..diffusion.spacing import by_hand, spacing_named
from ..presets import DEFAULT_MODEL, Defaults, defaults_of, preset_of
from ..settings import CompleteSettings, Settings
from ..weights.locate import locate
from ..weights.nets import Description, describe

SAMPLER_OPTIONS = ("eta", "s_churn", "s_tmin", "s_tmax", "s_noise")


def changed(settings: Settings, given: Mapping[str, Any]) -> Settings:
    """The settings with others in their place, and without what was only there to go with those.

    A strength takes the place of a start step and the other way round; levels by hand that of steps and spacing and
    the other way round; a sampler whose name brings a spacing that of the spacing; and what a new sampler does not
    take is left out. Raises ValueError for what no run could have.
    """
    plain = Settings(**{field.name: getattr(settings, field.name) for field in fields(Settings)})
    instead: dict[str, Any] = {}
    if "strength" in given:
        instead["start_step"] = None
    if "start_step" in given:
        instead["strength"] = None
    if "sampler" in given:
        name, brought = sampler_name(given["sampler"])
        taken = sampler_named(name).options
        instead |= {f.name: f.default for f in fields(Settings) if f.name in SAMPLER_OPTIONS and f.name not in taken}
        if brought:
            instead["spacing"] = None
    if {"sigmas", "times"} & given.keys():
        instead |= {"sigmas": None, "times": None, "steps": None, "spacing": None}
    elif {"steps", "spacing"} & given.keys():
        instead |= {"sigmas": None, "times": None}
    if plain.sigmas is not None and "sigmas" not in instead:  # the count of them, which nobody set
        instead |= {"steps": None, "spacing": None}
    return replace(plain, **{**instead, **given})


@dataclass(frozen=True)
class Planner:
    """Fills in settings, and lays their levels; all of it before anything is run, and without the nets."""

    model: str
    description: Description

    @classmethod
    def of(cls, model: str = DEFAULT_MODEL) -> "Planner":
        """The planner of a model, which is not loaded. Raises CheckpointError."""
        return cls(model, describe(locate(model, half=False, weights=False)))

    @property
    def schedule(self) -> NoiseSchedule:
        return self.description.schedule

    @property
    def repaints(self) -> bool:
        """Does the UNet take the mask and the masked image as channels of its own?"""
        return self.description.unet.in_channels > self.description.vae.latent_channels

    @cached_property
    def defaults(self) -> Defaults:
        preset, d = preset_of(self.model), self.description
        return preset.defaults if preset else defaults_of(d.scheduler_config, d.unet.time_cond_proj_dim is not None)

    def completed(
        self, settings: Settings, image: mx.array | None = None, mask: mx.array | None = None
    ) -> CompleteSettings:
        """The settings with every None filled in: by the model's defaults, and the size by the image (H, W, 3).

        With an image and neither strength nor start_step, the strength is the model's default; for a UNet that was
        trained to repaint, and a mask, it is 1. Raises ValueError for settings that this model cannot run.
        """
        d, f = self.defaults, self.description.vae.factor
        side = d.side or self.description.unet.sample_size * f
        height, width = (side, side) if image is None else image.shape[:2]
        defaults = {
            "width": width,
            "height": height,
            "steps": d.steps,
            "cfg": d.cfg,
            "sampler": d.sampler,
            "spacing": d.spacing,
            "cfg_rescale": d.cfg_rescale,
        }
        by_hand_given = settings.sigmas is not None or settings.times is not None
        if by_hand_given and not isinstance(settings, CompleteSettings):
            for name in ("steps", "spacing"):
                if getattr(settings, name) is not None:
                    raise ValueError(
                        f"{name} is {getattr(settings, name)!r}: leave it out where levels are chosen by hand"
                    )
        if image is not None and by_hand_given and settings.strength is None:
            defaults["start_step"] = 0
        elif image is not None and settings.start_step is None:
            defaults["strength"] = 1.0 if mask is not None and self.repaints else d.strength
        given: dict[str, Any] = {field.name: getattr(settings, field.name) for field in fields(settings)}
        layers = min(text.num_hidden_layers for text in self.description.texts)
        if settings.clip_skip + len(self.description.texts) > layers:
            raise ValueError(f"clip_skip is {settings.clip_skip}: this model's text encoder has {layers} layers")
        if settings.sampler is not None:
            given["sampler"], brought = sampler_name(settings.sampler)
            given["spacing"] = settings.spacing or brought
        if given["spacing"] is not None:
            given["spacing"] = spacing_name(given["spacing"])
        if settings.times is not None:
            given["sigmas"], given["times"] = tuple(self.schedule.sigma(t) for t in settings.times), None
        if given["sigmas"] is not None:
            given["sigmas"] = by_hand(given["sigmas"])
            given["steps"] = len(given["sigmas"]) - 1
        given |= {name: value for name, value in defaults.items() if given[name] is None}
        s = CompleteSettings(**given)
        self.sampler_options(s), spacing_named(s.spacing)  # raise for options that these do not have

        for name, value in (("width", s.width), ("height", s.height)):
            if value % f:
                raise ValueError(f"{name} is {value}: this model's pictures are multiples of {f}")
        if image is not None and image.shape[:2] != (s.height, s.width):
            raise ValueError(
                f"the image is {image.shape[1]} x {image.shape[0]}, and the settings ask for "
                f"{s.width} x {s.height}: scale it, or leave width and height out"
            )
        for seed, amount, *masks in s.perturb:
            h, w = unpacked(str(masks[0])).shape if masks else (s.height // f, s.width // f)
            if (h, w) != (s.height // f, s.width // f):
                raise ValueError(
                    f"perturbation {seed}:{amount:g} has a mask for {w * f} x {h * f}, and the picture is "
                    f"{s.width} x {s.height}"
                )
        if image is None and s.start == "inversion":
            raise ValueError("start is 'inversion': only a run that starts from an image can be inverted to")
        if s.start == "inversion" and s.image_weight != 1:
            raise ValueError(f"image_weight is {s.image_weight:g}: an inverted image starts with all of it, 1")
        return s

    def plan(self, settings: Settings, image: mx.array | None = None, mask: mx.array | None = None) -> Plan:
        """What a run of these arguments would do, without doing it. Raises ValueError for what cannot be done."""
        s = self.completed(settings, image, mask)
        weight = None if image is None and s.strength is None and s.start_step is None else s.image_weight
        plan = make_plan(
            self.schedule,
            s.spacing,
            s.steps,
            s.strength,
            s.strength_mode,
            s.start_step,
            weight,
            s.sigmas,
            s.discretize,
        )
        self.sampler(s, plan, mx.zeros((1,)), _no_noise)  # raises for options that do not suit it
        return plan

    def calls(self, settings: Settings, image: mx.array | None = None, mask: mx.array | None = None) -> int:
        """How often a run of these arguments would call the network, an inversion before it not counted."""
        s = self.completed(settings, image, mask)
        return self.plan(s, image, mask).calls(s.sampler, **self.sampler_options(s))

    def sampler(self, settings: CompleteSettings, plan: Plan, x: mx.array, noise: Noise) -> Sampler:
        """The sampler of a run, at its start. Raises ValueError for options that it does not have."""
        return sampler_named(settings.sampler)(x, plan.sigmas, noise, **self.sampler_options(settings))

    def sampler_options(self, settings: CompleteSettings) -> dict[str, Any]:
        """The settings that this sampler takes. Raises ValueError for one that was set and that it does not take."""
        taken = sampler_named(settings.sampler).options
        for name in SAMPLER_OPTIONS:
            # eta 1 is every ancestral sampler's own; where there is none, it asks for nothing.
            if name not in taken and settings.was_set(name) and (name, getattr(settings, name)) != ("eta", 1.0):
                others = ", ".join(other for other in sorted(SAMPLERS) if name in SAMPLERS[other].options)
                raise ValueError(f"the sampler {settings.sampler!r} has no {name}: {others} have it")
        values: dict[str, Any] = {name: getattr(settings, name) for name in SAMPLER_OPTIONS if name in taken}
        if "nearest" in taken and settings.discretize == "schedule":
            values["nearest"] = self.schedule.nearest
        if "schedule" in taken:
            values["schedule"] = self.schedule
        return {name: value for name, value in values.items() if value is not None}


def _no_noise(i: int, k: int) -> mx.array:
    raise AssertionError("a sampler that is not walked asks for no noise")
