"""StableDiffusion: the one place where nets and mathematics meet."""

import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

import mlx.core as mx
import mlx.nn as nn

from .backend import memory
from .diffusion.aliases import sampler_name, spacing_name
from .diffusion.denoiser import Denoiser, Estimate, masked
from .diffusion.guidance import Conditioning, guided
from .diffusion.noise import StepNoise, start_noise, wandered
from .diffusion.noising import chain, invert, ray
from .diffusion.plan import Plan, make_plan
from .diffusion.samplers import SAMPLERS, Sampler, Step, sampler_named
from .diffusion.schedule import NoiseSchedule
from .diffusion.spacing import by_hand, spacing_named
from .diffusion.walk import lockstep, walk
from .models.clip import CLIPTextModel
from .models.text import EncodedPrompt, encode_prompt
from .models.tokenizer import CLIPTokenizer
from .models.unet import UNet2DConditionModel, guidance_embedding
from .models.vae import AutoencoderKL
from .presets import DEFAULT_MODEL, defaults_of, preset_of
from .settings import CompleteSettings, Settings
from .weights.locate import locate
from .weights.nets import open_checkpoint
from .weights.quantize import quantize as quantize_net

_SAMPLER_OPTIONS = ("eta", "s_churn", "s_tmin", "s_tmax", "s_noise")


@dataclass(frozen=True)
class _Run:
    """A run that has been checked: everything but the nets."""

    settings: CompleteSettings
    plan: Plan
    seeds: range
    n: mx.array  # (n_images, h, w, 4), the noise that it starts from
    x0: mx.array | None  # (1, h, w, 4), the image's latents
    image: mx.array | None
    mask: mx.array | None

    @property
    def start(self) -> mx.array:
        """image_weight * x0 + sigma_start * n: noised once, to exactly the level that the first step starts from."""
        noise = self.plan.start_sigma * self.n
        if self.x0 is None or self.settings.image_weight == 0:
            return noise
        return self.settings.image_weight * self.x0 + noise


class StableDiffusion:
    """A Stable Diffusion checkpoint: 1.x, 2.x, XL, turbo or inpainting; what it is, its own config files say.

    model: a preset's name, a Hugging Face repo id, or a folder in the diffusers layout.
    float16: half precision; None means on a GPU only, because MLX is slow at it on a CPU. Latents, noise levels and
        coefficients are float32 always, and so is an autoencoder whose config says `force_upcast`.
    quantize: bits (2, 3, 4, 6 or 8) of the weights of the UNet's and the text encoders' linear layers.

    Weights are read when they are first used. `unet`, `text_encoder` (XL: `text_encoder_1`, `text_encoder_2`),
    `autoencoder`, `tokenizer` and `sampler` can be deleted to free their memory.
    Raises CheckpointError, a ValueError, for a model that cannot be loaded.
    """

    unet: UNet2DConditionModel
    autoencoder: AutoencoderKL
    text_encoder: CLIPTextModel
    text_encoder_1: CLIPTextModel
    text_encoder_2: CLIPTextModel
    tokenizer: CLIPTokenizer
    sampler: NoiseSchedule  # the older example's name for `schedule`

    def __init__(self, model: str = DEFAULT_MODEL, float16: bool | None = None, quantize: int | None = None) -> None:
        half = mx.default_device() == mx.gpu if float16 is None else float16
        self.model = model
        self.dtype = mx.float16 if half else mx.float32
        checkpoint = open_checkpoint(locate(model, half), self.dtype)
        self.unet, self.autoencoder = checkpoint.unet, checkpoint.autoencoder
        self._unet, self._vae = self.unet.config, self.autoencoder.config  # these stay when the nets are deleted
        xl = len(checkpoint.text_encoders) == 2
        self._encoders = ["text_encoder_1", "text_encoder_2"] if xl else ["text_encoder"]
        self._tokenizers = ["tokenizer_1", "tokenizer_2"] if xl else ["tokenizer"]
        self.__dict__.update(zip(self._encoders, checkpoint.text_encoders, strict=True))
        self.__dict__.update(zip(self._tokenizers, checkpoint.tokenizers, strict=True))
        self._layers = min(encoder.config.num_hidden_layers for encoder in checkpoint.text_encoders)
        self._zero_empty_negative = checkpoint.zero_empty_negative
        self.schedule = self.sampler = checkpoint.schedule
        preset = preset_of(model)
        self.defaults = (
            preset.defaults
            if preset
            else defaults_of(checkpoint.scheduler_config, self._unet.time_cond_proj_dim is not None)
        )
        if quantize is not None:
            for name in ("unet", *self._encoders):
                quantize_net(getattr(self, name), quantize)

    @property
    def nets(self) -> dict[str, nn.Module]:
        """The nets that are still there, by name."""
        names = ("unet", *self._encoders, "autoencoder")
        return {name: getattr(self, name) for name in names if hasattr(self, name)}

    def ensure_models_are_loaded(self) -> None:
        """Read every weight now instead of when it is first used."""
        for net in self.nets.values():
            mx.eval(net.parameters())

    # Settings

    def completed(
        self, settings: Settings, image: mx.array | None = None, mask: mx.array | None = None
    ) -> CompleteSettings:
        """The settings with every None filled in: by the model's defaults, and the size by the image (H, W, 3).

        With an image and neither strength nor start_step, the strength is the model's default; for a UNet that was
        trained to repaint, and a mask, it is 1.
        """
        d, f = self.defaults, self._vae.factor
        side = d.side or self._unet.sample_size * f
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
            defaults["strength"] = 1.0 if mask is not None and self._repaints else d.strength
        given: dict[str, Any] = {field.name: getattr(settings, field.name) for field in fields(settings)}
        if settings.clip_skip + len(self._encoders) > self._layers:
            raise ValueError(f"clip_skip is {settings.clip_skip}: this model's text encoder has {self._layers} layers")
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
        sampler_named(s.sampler), spacing_named(s.spacing)  # raise for options that these do not have

        for name, value in (("width", s.width), ("height", s.height)):
            if value % f:
                raise ValueError(f"{name} is {value}: this model's pictures are multiples of {f}")
        if image is not None and image.shape[:2] != (s.height, s.width):
            raise ValueError(
                f"the image is {image.shape[1]} x {image.shape[0]}, and the settings ask for "
                f"{s.width} x {s.height}: scale it, or leave width and height out"
            )
        return s

    def plan(self, settings: Settings, image: mx.array | None = None, mask: mx.array | None = None) -> Plan:
        """What `sample` with the same arguments would do, without doing it."""
        s = self.completed(settings, image, mask)
        weight = None if image is None and s.strength is None and s.start_step is None else s.image_weight
        return make_plan(
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

    def calls(self, settings: Settings, image: mx.array | None = None, mask: mx.array | None = None) -> int:
        """How often `sample` with the same arguments would call the network."""
        s = self.completed(settings, image, mask)
        return self.plan(settings, image, mask).calls(s.sampler, **self._sampler_options(s))

    def _sampler_options(self, settings: CompleteSettings) -> dict[str, Any]:
        """The settings that this sampler takes. One that it does not take must not have been set."""
        taken = sampler_named(settings.sampler).options
        for name in _SAMPLER_OPTIONS:
            # eta 1 is every ancestral sampler's own; where there is none, it asks for nothing.
            if name not in taken and settings.was_set(name) and (name, getattr(settings, name)) != ("eta", 1.0):
                others = ", ".join(other for other in sorted(SAMPLERS) if name in SAMPLERS[other].options)
                raise ValueError(f"the sampler {settings.sampler!r} has no {name}: {others} have it")
        values: dict[str, Any] = {name: getattr(settings, name) for name in _SAMPLER_OPTIONS if name in taken}
        if "nearest" in taken and settings.discretize == "schedule":
            values["nearest"] = self.schedule.nearest
        if "schedule" in taken:
            values["schedule"] = self.schedule
        return {name: value for name, value in values.items() if value is not None}

    # Text

    def _encoded(self, text: str, clip_skip: int, name: str) -> EncodedPrompt:
        encoders = [getattr(self, name) for name in self._encoders]
        encoded, dropped = encode_prompt(encoders, [getattr(self, name) for name in self._tokenizers], text, clip_skip)
        if dropped:
            warnings.warn(f"the {name} is too long; left out: {dropped!r}", stacklevel=5)
        return encoded

    def _conditioning(self, settings: CompleteSettings) -> tuple[Conditioning, Conditioning]:
        """What the UNet is told for the prompt and for the negative prompt."""
        prompt = self._encoded(settings.prompt, settings.clip_skip, "prompt")
        negative = self._encoded(settings.negative_prompt, settings.clip_skip, "negative prompt")
        if not settings.negative_prompt and self._zero_empty_negative:
            negative = negative.zeroed()

        def arguments(text: EncodedPrompt) -> Conditioning:
            told = {"context": text.context}
            if text.pooled is not None:
                size = (settings.height, settings.width)
                told["text_embeds"] = text.pooled
                told["time_ids"] = mx.array([[*size, 0, 0, *size]])  # made at this size, not cut, wanted at this size
            if (dim := self._unet.time_cond_proj_dim) is not None:
                told["time_cond"] = guidance_embedding(settings.cfg, dim).astype(self.dtype)
            return told

        return arguments(prompt), arguments(negative)

    # Pictures and latents

    @property
    def _repaints(self) -> bool:
        """Does the UNet take the mask and the masked image as channels of its own?"""
        return self._unet.in_channels > self._vae.latent_channels

    def encode(self, image: mx.array) -> mx.array:
        """A picture (H, W, 3) in [-1, 1], H and W multiples of 8 -> its latents (1, H / 8, W / 8, 4), float32.

        They are the mean of the encoder's distribution: the same picture always gives the same latents.
        """
        f = self._vae.factor
        if image.ndim != 3 or image.shape[2] != 3 or image.shape[0] % f or image.shape[1] % f:
            raise ValueError(f"the image has shape {image.shape}: it must be (H, W, 3), H and W multiples of {f}")
        dtype = self.autoencoder.encoder.conv_in.weight.dtype
        return _finite(
            self.autoencoder.encode(image[None].astype(dtype)).astype(mx.float32), "encoding the image", dtype
        )

    def decode(self, latents: mx.array) -> mx.array:
        """Latents (B, h, w, 4) at noise level 0 -> pictures (B, 8 h, 8 w, 3) in [0, 1], float32."""
        dtype = self.autoencoder.decoder.conv_in.weight.dtype
        pictures = self.autoencoder.decode(latents.astype(dtype)).astype(mx.float32)
        return mx.clip(_finite(pictures, "decoding", dtype) / 2 + 0.5, 0, 1)

    def _estimate(self, run: _Run) -> Estimate:
        """`denoise(x, sigma)` for a run, whatever the number of rows."""
        settings, mask = run.settings, run.mask
        extra = self._repaint_channels(settings, run.image, mask) if self._repaints else None

        def net(x: mx.array, t: mx.array, **conditioning: mx.array) -> mx.array:
            if extra is not None:
                x = mx.concatenate([x, mx.broadcast_to(extra, (*x.shape[:3], extra.shape[3]))], axis=-1)
            return self.unet(x.astype(self.dtype), t, **conditioning)

        positive, negative = self._conditioning(settings)
        # A net that was distilled with guidance is told the scale, and is not to be guided once more.
        cfg = settings.cfg if self._unet.time_cond_proj_dim is None else 1.0
        guided_net = guided(net, positive, negative, cfg, settings.cfg_rescale)
        denoise: Estimate = Denoiser(guided_net, self.schedule, whole_times=settings.discretize == "timestep")
        if mask is not None and run.x0 is not None and extra is None:
            denoise = masked(denoise, run.x0, _shrunk(mask, self._vae.factor))
        return denoise

    def frame(self, step: Step, kind: Literal["noisy", "clean"] = "noisy") -> mx.array:
        """A step as pictures (B, H, W, 3) in [0, 1]: what it has become, at the scale of a picture, or the estimate."""
        return self.decode(step.clean if kind == "clean" else step.x / (step.sigma**2 + 1) ** 0.5)

    def _repaint_channels(self, settings: CompleteSettings, image: mx.array | None, mask: mx.array | None) -> mx.array:
        """What a 9-channel UNet sees besides the latents: the mask, and the latents of the image less the masked part.

        (1, h, w, 5). The mask is hard; what it hides is mid grey. Without a mask everything is to be painted.
        """
        f = self._vae.factor
        if mask is None or image is None:
            mask = mx.ones((settings.height, settings.width))
            image = mx.zeros((settings.height, settings.width, 3))
        hole = (mask >= 0.5).astype(mx.float32)
        return mx.concatenate([hole[None, ::f, ::f, None], self.encode(image * (1 - hole[..., None]))], axis=-1)

    def _check_memory(self, settings: CompleteSettings) -> None:
        """Raise MemoryError for a run whose largest array alone is more than this machine can hold.

        On a CPU, MLX would crash without a word.
        """
        if mx.default_device() != mx.cpu:
            return
        size, f = (settings.height, settings.width), self._vae.factor
        rows = settings.n_images * (1 if settings.cfg in (0, 1) else 2)
        numbers = rows * self._unet.largest_array(settings.height // f, settings.width // f)
        needed, there = 4 * max(numbers, self._vae.largest_array(*size)), memory()
        if needed > there:
            raise MemoryError(
                f"{settings.n_images} of {settings.width} x {settings.height} at the same time take over "
                f"{needed / 2**30:.0f} GiB of memory, and there are {there / 2**30:.0f}: make them smaller, or fewer"
            )

    # Runs

    def sample(
        self,
        settings: Settings,
        image: mx.array | None = None,
        mask: mx.array | None = None,
        noise: mx.array | None = None,
    ) -> Iterator[Step]:
        """Walk n_images pictures, as one batch, from their start to noise level 0; the last step's x is to be decoded.

        image: (H, W, 3) in [-1, 1], to start from its noised latents; mask: (H, W) in [0, 1], 1 = repaint; noise:
        (n_images, h, w, 4) N(0, 1), instead of the seeds'. Nothing is yielded when the plan runs no steps.
        Raises ValueError before the first step for settings that cannot be run, and FloatingPointError where a latent
        becomes NaN or infinite.
        """
        run = self._run(settings, image, mask, noise)
        if run.plan.steps_run == 0:
            return iter(())
        self._check_memory(run.settings)
        return self._evaluated(walk(self._estimate(run), self._walker(run)))

    def _run(self, settings: Settings, image: mx.array | None, mask: mx.array | None, noise: mx.array | None) -> _Run:
        """Check the arguments of a run, and make what it starts from."""
        image, mask = _checked(image, "image", -1.0), _checked(mask, "mask", 0.0)
        s, plan = self.completed(settings, image, mask), self.plan(settings, image, mask)
        if mask is not None and image is None:
            raise ValueError("a mask needs an image")
        if mask is not None and mask.shape != (s.height, s.width):
            raise ValueError(f"the mask has shape {mask.shape}: the image's is ({s.height}, {s.width})")
        if plan.image_weight is not None and image is None:
            raise ValueError("strength and start_step need an image")
        f, seeds = self._vae.factor, range(s.seed, s.seed + s.n_images)
        shape = (s.height // f, s.width // f, self._vae.latent_channels)
        if noise is not None and noise.shape != (s.n_images, *shape):
            raise ValueError(f"the noise has shape {noise.shape}: this run's is {(s.n_images, *shape)}")
        self._sampler_options(s)
        n = wandered(start_noise(seeds, shape) if noise is None else mx.array(noise).astype(mx.float32), s.perturb)
        x0 = None if image is None else self.encode(image)
        return _Run(s, plan, seeds, n, x0, image, mask)

    def _walker(self, run: _Run) -> Sampler:
        s, noise = run.settings, StepNoise(run.seeds, run.n.shape[1:])
        return sampler_named(s.sampler)(run.start, run.plan.sigmas, noise, **self._sampler_options(s))

    def _evaluated(self, steps: Iterator[Step]) -> Iterator[Step]:
        """Compute each step before it is handed on, and see that it is a number."""
        for step in steps:
            mx.eval(step.x, step.clean)
            _finite(step.x, f"step {step.index + 1}", self.dtype)
            yield step

    def _pictures(self, settings: Settings, image: mx.array | None, mask: mx.array | None) -> mx.array:
        step = None
        for step in self.sample(settings, image, mask):
            pass
        if step is not None:
            return self.decode(step.x)
        assert image is not None
        return mx.broadcast_to(mx.array(image) / 2 + 0.5, (settings.n_images, *image.shape))

    def txt2img(self, settings: Settings) -> mx.array:
        """Pictures of the prompt: (n_images, H, W, 3) in [0, 1]."""
        return self._pictures(settings, None, None)

    def img2img(self, settings: Settings, image: mx.array) -> mx.array:
        """Pictures of the prompt that start from an image (H, W, 3) in [-1, 1]: (n_images, H, W, 3) in [0, 1].

        Strength 0 returns the image itself.
        """
        return self._pictures(settings, image, None)

    def inpaint(self, settings: Settings, image: mx.array, mask: mx.array) -> mx.array:
        """Repaint an image (H, W, 3) in [-1, 1] where the mask (H, W) is 1: (n_images, H, W, 3) in [0, 1].

        Where the mask is 0, the pixels are the image's own.
        """
        painted, m = self._pictures(settings, image, mask), mx.array(mask)[..., None]
        return m * painted + (1 - m) * (mx.array(image) / 2 + 0.5)

    # The laboratory

    def triangle(
        self,
        settings: Settings,
        image: mx.array,
        strengths: Sequence[float],
        mask: mx.array | None = None,
        batch_size: int | None = None,
    ) -> list[list[Step]]:
        """Image-to-image at many strengths with one noise: a row of steps for each, all walked together.

        The first step of a row, with index -1, is the image noised once to that row's level; down these, the rows show
        the noising, and along a row the denoising. Strength 0 is a row of the image alone. settings.n_images must be 1.
        At most batch_size rows go into one network call (None: all), so that with None there are as many calls as the
        longest row makes. Raises what `sample` raises.
        """
        if settings.n_images != 1:
            raise ValueError(f"n_images is {settings.n_images}: a triangle is of 1 picture")
        if not strengths:
            raise ValueError("a triangle needs at least one strength")
        rows_settings = [replace(settings, strength=strength, start_step=None) for strength in strengths]
        first = self._run(rows_settings[0], image, mask, None)  # the image is encoded once, for all rows
        runs = [
            replace(first, settings=self.completed(s, first.image, mask), plan=self.plan(s, first.image, mask))
            for s in rows_settings
        ]
        self._check_memory(replace(runs[0].settings, n_images=min(batch_size or len(runs), len(runs))))
        estimate, x0 = self._estimate(first), _repeated(first.x0, 1)
        rows = [[Step(-1, run.plan.start_sigma, run.start if run.plan.steps_run else x0, x0)] for run in runs]
        steps = lockstep(lambda x, sigma, which: estimate(x, sigma), map(self._walker, runs), batch_size)
        for which, step in steps:
            rows[which] += self._evaluated(iter([step]))
        return rows

    def noising(
        self, settings: Settings, image: mx.array, kind: Literal["ray", "chain", "inversion"] = "ray"
    ) -> list[Step]:
        """The way from the image up to the start of `sample` with the same arguments: clean to noisy, a step per level.

        ray: one noise at every level. chain: noise added little by little, ending at the same start, bit for bit.
        inversion: the ODE walked up with settings.prompt, so that Euler steps with the same prompt lead back; it
        has no noise in it, and ends elsewhere. The first step, at level 0, is the image's own latents.
        Raises ValueError for an image_weight other than 1: no way leads from the image to a start without it.
        """
        if settings.image_weight != 1:
            raise ValueError(f"image_weight is {settings.image_weight:g}: the way up from the image is for 1")
        run = self._run(settings, image, None, None)
        sigmas, x0 = run.plan.sigmas, _repeated(run.x0, run.settings.n_images)
        if kind == "ray":
            latents = ray(x0, run.n, sigmas)
        elif kind == "chain":
            latents = chain(x0, run.n, sigmas, run.seeds)
        elif kind == "inversion":
            latents = invert(self._estimate(run), x0, sigmas).latents
        else:
            raise ValueError(f"unknown kind of noising {kind!r}: ray, chain or inversion")
        steps = (Step(i, s, x, x0) for i, (s, x) in enumerate(zip(reversed(sigmas), latents, strict=True)))
        return list(self._evaluated(steps))

    # The older MLX example's interface

    def generate_latents(
        self,
        text: str,
        n_images: int = 1,
        num_steps: int | None = None,
        cfg_weight: float | None = None,
        negative_text: str = "",
        latent_size: tuple[int, int] | None = None,
        seed: int | None = None,
    ) -> Iterator[mx.array]:
        """The latents (n_images, h, w, 4) after each step of text-to-image, in variance-preserving scale.

        The last of them can be decoded. None means the model's default, and for the seed the time.
        """
        f = self._vae.factor
        height, width = (None, None) if latent_size is None else (latent_size[0] * f, latent_size[1] * f)
        settings = self._older(text, n_images, num_steps, cfg_weight, negative_text, seed)
        return _variance_preserving(self.sample(replace(settings, height=height, width=width)))

    def generate_latents_from_image(
        self,
        image: mx.array,
        text: str,
        n_images: int = 1,
        strength: float = 0.8,
        num_steps: int | None = None,
        cfg_weight: float | None = None,
        negative_text: str = "",
        seed: int | None = None,
    ) -> Iterator[mx.array]:
        """The same for image-to-image. Strength 0 yields the image's own latents."""
        settings = self._older(text, n_images, num_steps, cfg_weight, negative_text, seed)
        settings = replace(settings, strength=strength)
        if self.plan(settings, image).steps_run == 0:
            x0 = self.encode(image)
            return iter((mx.broadcast_to(x0, (n_images, *x0.shape[1:])),))
        return _variance_preserving(self.sample(settings, image))

    def _older(
        self, text: str, n_images: int, steps: int | None, cfg: float | None, negative: str, seed: int | None
    ) -> Settings:
        return Settings(
            prompt=text,
            negative_prompt=negative,
            n_images=n_images,
            seed=int(time.time()) if seed is None else seed,
            steps=steps,
            cfg=cfg,
            sampler="euler_a" if len(self._encoders) == 2 else "euler",
            spacing="trailing",
        )


class StableDiffusionXL(StableDiffusion):
    """StableDiffusion with another default model: what a checkpoint is, its config files say."""

    def __init__(self, model: str = "sdxl-turbo", float16: bool | None = None, quantize: int | None = None) -> None:
        super().__init__(model, float16, quantize)


def _finite(x: mx.array, doing: str, dtype: mx.Dtype) -> mx.array:
    """x itself. Raises FloatingPointError where it holds what is no number: a black picture would say nothing."""
    if not mx.isfinite(x).all():
        remedy = "half precision is too small for it: float16=False" if dtype == mx.float16 else "try a smaller cfg"
        raise FloatingPointError(f"{doing} gave a NaN or an infinite number; {remedy}")
    return x


def _checked(picture: mx.array | None, name: str, low: float) -> mx.array | None:
    """An image or a mask as float32, from MLX or NumPy. Raises ValueError for values outside [low, 1]."""
    if picture is None:
        return None
    picture = mx.array(picture).astype(mx.float32)
    least, most = float(picture.min()), float(picture.max())
    if least < low - 1e-3 or most > 1 + 1e-3:
        raise ValueError(f"the {name} has values from {least:g} to {most:g}: they must be from {low:g} to 1")
    return picture


def _repeated(x0: mx.array | None, n: int) -> mx.array:
    """The latents of one image (1, h, w, 4) for n of them."""
    assert x0 is not None
    return mx.broadcast_to(x0, (n, *x0.shape[1:]))


def _variance_preserving(steps: Iterator[Step]) -> Iterator[mx.array]:
    for step in steps:
        yield step.x / (step.sigma**2 + 1) ** 0.5


def _shrunk(mask: mx.array, f: int) -> mx.array:
    """A mask (H, W) of pixels as one of latents (H / f, W / f, 1): the share of each latent that is to be repainted."""
    H, W = mask.shape
    return mask.reshape(H // f, f, W // f, f).mean(axis=(1, 3))[..., None]
