"""What a checkpoint would do with settings, told from its config files alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import mlx.core as mx

from ..diffusion.aliases import sampler_name, spacing_name
from ..diffusion.plan import make_plan
from ..diffusion.samplers import SAMPLER_OPTIONS, SAMPLERS, sampler_named
from ..diffusion.schedule import NoiseSchedule
from ..diffusion.spacing import by_hand, spacing_named
from ..presets import DEFAULT_MODEL, DISTILLED, Defaults, defaults_of, distilled_of, perhaps_distilled, preset_of
from ..prompts.editing import PROMPTS, steady
from ..prompts.loras import LORA_TAGS
from ..settings import ROWS, CompleteSettings, Settings
from ..weights.extras import LoRAUse, distilled
from ..weights.folders import lora_named
from ..weights.loading import open_checkpoint
from ..weights.nets import Description, describe
from .inputs import NOTHING, Inputs
from .masks import unpacked
from .run import Run


def changed(settings: Settings, given: Mapping[str, Any]) -> Settings:
    """The settings with others in their place, and without what was only there to go with those.

    A strength takes the place of a start step and the other way round; levels by hand that of steps and spacing and
    the other way round; a sampler whose name brings a spacing that of the spacing; and what a new sampler does not
    take is left out. Raises ValueError for what no run could have.
    """
    plain = Settings(**{name: getattr(settings, name) for name in ROWS})
    instead: dict[str, Any] = {}
    if "strength" in given:
        instead["start_step"] = None
    if "start_step" in given:
        instead["strength"] = None
    if "sampler" in given:
        name, brought = sampler_name(given["sampler"])
        taken = sampler_named(name).takes
        instead |= {name: ROWS[name].default for name in SAMPLER_OPTIONS if name not in taken}
        if brought:
            instead["spacing"] = None
    if given.get("noise_source") == "mlx":  # where every picture has its own seed
        instead["of_batch"] = None
    if given.get("prompt_syntax", "plain") != "plain":
        instead["cut_prompt"] = False
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
    distilled: tuple[str, Defaults] | None = None  # by a LoRA, and how it is used then
    lora_dir: str | None = None  # of the LoRAs that prompts name

    @classmethod
    def of(
        cls,
        model: str = DEFAULT_MODEL,
        vae: str | None = None,
        prediction: str | None = None,
        loras: Sequence[LoRAUse] = (),
        lora_dir: str | None = None,
    ) -> "Planner":
        """The planner of a model, which is not loaded. Raises CheckpointError."""
        checkpoint = open_checkpoint(model, half=False, weights=False, vae=vae)
        return cls(model, describe(checkpoint, prediction), distilled(loras), lora_dir)

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
        if self.distilled is not None:
            return replace(self.distilled[1], side=preset.defaults.side if preset else None)
        if preset:
            return preset.defaults
        if (found := self._named) is not None:
            return found[1]
        return defaults_of(d.scheduler_config, d.unet.time_cond_proj_dim is not None)

    @property
    def notes(self) -> tuple[str, ...]:
        """What a person should know of the model, in sentences."""
        found, why = (self.distilled, "with this LoRA") if self.distilled else (self._named, "by its name")
        if found is None:
            return (*self.description.notes, *self._perhaps)
        kind, d = found
        steps = f"{d.steps} step{'s' * (d.steps > 1)} of {d.sampler}"
        levels = f"from time {d.times[0]:g}" if d.times else d.spacing
        guided = f"cfg {d.cfg:g}" + (", at which a negative prompt does nothing" if d.cfg <= 1 else "")
        return (*self.description.notes, f"{why} ({kind}), the defaults are {steps}, {levels}, {guided}")

    @property
    def _perhaps(self) -> tuple[str, ...]:
        """What to say of a file that may be for few steps, which its name alone hints at."""
        place = self.description.checkpoint.place
        if self._named is not None or not place.is_file() or not (word := perhaps_distilled(place.name)):
            return ()
        d = DISTILLED[word][0]
        flags = f"--steps {d.steps} --sampler {d.sampler} --spacing {d.spacing} --cfg {d.cfg:g}"
        said = f"{place.name} has {word!r} in its name, as models for few steps have, and more is not known of it"
        return (f"{said}: if it is one, try {flags}",)

    @property
    def _named(self) -> tuple[str, Defaults] | None:
        """The kind and the defaults of a file that says in its name that it was distilled to few steps."""
        place = self.description.checkpoint.place
        return distilled_of(place.name) if place.is_file() else None

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the pictures that this model is made for, in pixels."""
        if side := self.defaults.side:
            return side, side
        h, w = self.description.unet.sample_size
        return h * self.description.vae.factor, w * self.description.vae.factor

    def completed(self, settings: Settings, inputs: Inputs = NOTHING) -> CompleteSettings:
        """The settings with every None filled in: by the model's defaults, and the size by the image.

        With an image and neither strength nor start_step, the strength is the model's default; for a UNet that was
        trained to repaint, and a mask, it is 1. Raises ValueError for settings that this model cannot run.
        """
        d, image = self.defaults, inputs.image
        chosen = (settings.spacing, settings.sigmas, settings.times)
        if d.times and image is None and chosen == (None,) * 3 and settings.steps in (None, d.steps):
            settings = replace(settings, times=d.times, steps=None)
        height, width = self.size if image is None else image.shape[:2]
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
            defaults["strength"] = 1.0 if inputs.mask is not None and self.repaints else d.strength
        given: dict[str, Any] = {name: getattr(settings, name) for name in ROWS}
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
        self._check(s, inputs)
        return s

    def _check(self, s: CompleteSettings, inputs: Inputs) -> None:
        """Raise ValueError for settings that this model, or these inputs, cannot have."""
        texts, f, image = self.description.texts, self.description.vae.factor, inputs.image
        layers = min(text.num_hidden_layers for text in texts)
        if s.clip_skip + len(texts) > layers:
            raise ValueError(f"clip_skip is {s.clip_skip}: this model's text encoder has {layers} layers")
        self.sampler_options(s), spacing_named(s.spacing)  # raise for options that these do not have
        for name, value in (("width", s.width), ("height", s.height)):
            if value % f:
                raise ValueError(f"{name} is {value}: this model's pictures are multiples of {f}")
        if image is not None and image.shape[:2] != (s.height, s.width):
            raise ValueError(
                f"the image is {image.shape[1]} x {image.shape[0]}, and the settings ask for "
                f"{s.width} x {s.height}: scale it, or leave width and height out"
            )
        for seed, amount, *code in s.perturb:
            h, w = unpacked(str(code[0])).shape if code else (s.height // f, s.width // f)
            if (h, w) != (s.height // f, s.width // f):
                raise ValueError(
                    f"perturbation {seed}:{amount:g} has a mask for {w * f} x {h * f}, and the picture is "
                    f"{s.width} x {s.height}"
                )
        if image is None and s.start == "inversion":
            raise ValueError("start is 'inversion': only a run that starts from an image can be inverted to")
        told, tags = LORA_TAGS[s.prompt_syntax](s.source_prompt)
        if tags or PROMPTS[s.prompt_syntax](told, s.steps) != steady(told, s.steps):
            raise ValueError(
                f"source_prompt is {s.source_prompt[:80]!r}: the way up is told one text throughout, without AND, "
                "[a:b:0.5], [a|b] and <lora:...>"
            )
        if s.start == "inversion" and s.image_weight != 1:
            raise ValueError(f"image_weight is {s.image_weight:g}: an inverted image starts with all of it, 1")

    def run(self, settings: Settings, inputs: Inputs = NOTHING, noise: mx.array | None = None) -> Run:
        """A run of these, completed and planned: the one place where either is done.

        noise: (n_images, h, w, 4) N(0, 1), instead of the seeds'. Raises ValueError for what cannot be run.
        """
        s = self.completed(settings, inputs)
        f = self.description.vae.factor
        shape = (s.height // f, s.width // f, self.description.vae.latent_channels)
        if noise is not None and tuple(noise.shape) != (s.n_images, *shape):
            raise ValueError(f"the noise has shape {noise.shape}: this run's is {(s.n_images, *shape)}")
        given = None if noise is None else mx.array(noise).astype(mx.float32)
        plan = make_plan(self.schedule, s, inputs.image is not None)
        run = Run(s, plan, shape, self.sampler_options(s), inputs, given, tagged=self._tagged(s))
        run.sampler(mx.zeros((1,)), _no_noise)  # raises for options that do not suit it
        return run

    def _tagged(self, s: CompleteSettings) -> tuple[LoRAUse, ...]:
        """The LoRAs that a prompt names. Raises ValueError for a tag, and CheckpointError for a name, that can't be."""
        _, tags = LORA_TAGS[s.prompt_syntax](s.prompt)
        return tuple(LoRAUse(str(lora_named(tag.name, self.lora_dir)), tag.unet, tag.text) for tag in tags)

    def sampler_options(self, settings: CompleteSettings) -> dict[str, Any]:
        """The settings that this sampler takes. Raises ValueError for one that was set and that it does not take."""
        taken = sampler_named(settings.sampler).takes
        for name in SAMPLER_OPTIONS:
            # eta 1 is every ancestral sampler's own; where there is none, it asks for nothing.
            if name not in taken and settings.was_set(name) and (name, getattr(settings, name)) != ("eta", 1.0):
                others = ", ".join(other for other in sorted(SAMPLERS) if name in SAMPLERS[other].takes)
                raise ValueError(f"the sampler {settings.sampler!r} has no {name}: {others} have it")
        values: dict[str, Any] = {name: getattr(settings, name) for name in SAMPLER_OPTIONS if name in taken}
        if "nearest" in taken and settings.discretize == "schedule":
            values["nearest"] = self.schedule.nearest
        if "schedule" in taken:
            values["schedule"] = self.schedule
        return {name: value for name, value in values.items() if value is not None}


def _no_noise(i: int, k: int) -> mx.array:
    raise AssertionError("a sampler that is not walked asks for no noise")
