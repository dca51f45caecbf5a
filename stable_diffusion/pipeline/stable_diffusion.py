"""StableDiffusion: the one place where nets and mathematics meet."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Literal

import mlx.core as mx
import mlx.nn as nn

from ..backend import memory
from ..diffusion.denoiser import Denoiser, Estimate, masked
from ..diffusion.guidance import Conditioning, Guide, guided
from ..diffusion.noise import StepNoise
from ..diffusion.noising import Inversion, invert
from ..diffusion.plan import Plan
from ..diffusion.samplers import Sampler, Step
from ..diffusion.schedule import NoiseSchedule
from ..diffusion.walk import DenoiseRows, lockstep
from ..models.clip import CLIPTextModel
from ..models.text import EncodedPrompt, encode_prompt
from ..models.tokenizer import CLIPTokenizer
from ..models.unet import UNet2DConditionModel, guidance_embedding
from ..models.vae import AutoencoderKL
from ..presets import DEFAULT_MODEL
from ..settings import CompleteSettings, Settings
from ..weights.cache import recall, remember
from ..weights.identity import content_hash
from ..weights.locate import locate
from ..weights.nets import describe, open_nets
from ..weights.quantize import quantize as quantize_net
from . import laboratory, older
from .planner import Planner
from .preview import applied, fit
from .recipe import Recipe
from .run import Run


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
        self.quantize = quantize
        self.description = describe(locate(model, half))  # stays when the nets are deleted
        self.planner = Planner(model, self.description)
        nets = open_nets(self.description, self.dtype)
        self.unet, self.autoencoder = nets.unet, nets.autoencoder
        xl = len(nets.text_encoders) == 2
        self._encoders = ["text_encoder_1", "text_encoder_2"] if xl else ["text_encoder"]
        self._tokenizers = ["tokenizer_1", "tokenizer_2"] if xl else ["tokenizer"]
        self.__dict__.update(zip(self._encoders, nets.text_encoders, strict=True))
        self.__dict__.update(zip(self._tokenizers, nets.tokenizers, strict=True))
        self.schedule = self.sampler = self.description.schedule
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
        """The settings with every None filled in: see Planner.completed."""
        return self.planner.completed(settings, image, mask)

    def plan(self, settings: Settings, image: mx.array | None = None, mask: mx.array | None = None) -> Plan:
        """What `sample` with the same arguments would do, without doing it."""
        return self.planner.plan(settings, image, mask)

    def calls(self, settings: Settings, image: mx.array | None = None, mask: mx.array | None = None) -> int:
        """How often `sample` with the same arguments would call the network, an inversion before it not counted."""
        return self.planner.calls(settings, image, mask)

    # Text

    def _guides(self, all_settings: Sequence[CompleteSettings]) -> list[Guide]:
        """What the UNet is told in each run; texts that several of them share are encoded once."""
        known: dict[tuple[str, int], EncodedPrompt] = {}

        def encoded(text: str, clip_skip: int, name: str) -> EncodedPrompt:
            if (text, clip_skip) not in known:
                encoders, tokenizers = (
                    [getattr(self, x) for x in names] for names in (self._encoders, self._tokenizers)
                )
                known[text, clip_skip], dropped = encode_prompt(encoders, tokenizers, text, clip_skip)
                if dropped:
                    warnings.warn(f"the {name} is too long; left out: {dropped!r}", stacklevel=6)
            return known[text, clip_skip]

        guides = []
        for s in all_settings:
            positive = encoded(s.prompt, s.clip_skip, "prompt")
            # A net that was distilled with guidance is told the scale, and is not to be guided once more.
            cfg = s.cfg if self.description.unet.time_cond_proj_dim is None else 1.0
            guide = Guide(self._told(s, positive), {}, cfg, s.cfg_rescale)
            if guide.steers:
                negative = encoded(s.negative_prompt, s.clip_skip, "negative prompt")
                if not s.negative_prompt and self.description.zero_empty_negative:
                    negative = negative.zeroed()
                guide = replace(guide, negative=self._told(s, negative))
            guides.append(guide)
        return guides

    def _told(self, settings: CompleteSettings, text: EncodedPrompt) -> Conditioning:
        """The arguments of the UNet besides x and t."""
        told = {"context": text.context}
        if text.pooled is not None:
            size = (settings.height, settings.width)
            told["text_embeds"] = text.pooled
            told["time_ids"] = mx.array([[*size, 0, 0, *size]])  # made at this size, not cut, wanted at this size
        if (dim := self.description.unet.time_cond_proj_dim) is not None:
            told["time_cond"] = guidance_embedding(settings.cfg, dim).astype(self.dtype)
        return told

    # Pictures and latents

    def encode(self, image: mx.array) -> mx.array:
        """A picture (H, W, 3) in [-1, 1], H and W multiples of 8 -> its latents (1, H / 8, W / 8, 4), float32.

        They are the mean of the encoder's distribution: the same picture always gives the same latents.
        """
        f = self.description.vae.factor
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

    def recipe(self, settings: Settings, image: mx.array | None = None, mask: mx.array | None = None) -> Recipe:
        """Everything that pictures of these settings are made with, for their files."""
        half = self.dtype == mx.float16
        return Recipe(self.completed(settings, image, mask), self.model, self.identity, half, self.quantize)

    @cached_property
    def identity(self) -> str:
        """A hash of the weights and configs of this checkpoint, 64 hexadecimal digits."""
        return content_hash(self.description.folder, self.dtype == mx.float16)

    @cached_property
    def _colours(self) -> mx.array:
        """The linear map from latents to colours, fitted once to this autoencoder, and remembered from run to run."""
        what = content_hash(self.description.folder, self.dtype == mx.float16, ("vae",))
        known = recall("previews").get(what)
        shape = (self.description.vae.latent_channels + 1, 3)
        try:
            coefficients = mx.array(known if known is not None else mx.nan)
            if coefficients.shape == shape and mx.isfinite(coefficients).all():
                return coefficients
        except (TypeError, ValueError):  # somebody else's, or damaged: fitted anew
            pass
        coefficients = fit(self.decode, self.description.vae.latent_channels)
        remember("previews", {what: coefficients.tolist()})
        return coefficients

    def preview(self, latents: mx.array) -> mx.array:
        """Latents (B, h, w, 4) at noise level 0 -> their colours (B, h, w, 3) in [0, 1], one pixel for 8 x 8.

        A linear map, fitted by least squares to the loaded autoencoder: next to nothing beside `decode`.
        """
        return applied(self._colours, latents)

    def frame(self, step: Step, kind: Literal["noisy", "clean"] = "noisy") -> mx.array:
        """A step as pictures (B, H, W, 3) in [0, 1]: what it has become, at the scale of a picture, or the estimate."""
        return self.decode(shown(step, kind))

    # Runs

    def runs(
        self,
        all_settings: Sequence[Settings],
        image: mx.array | None = None,
        mask: mx.array | None = None,
        noise: mx.array | None = None,
    ) -> list[Run]:
        """Check the arguments of runs that share an image and a mask, which are encoded once, and complete them.

        Arguments and errors are those of `sample`; nothing is run yet.
        """
        image, mask = _checked(image, "image", -1.0), _checked(mask, "mask", 0.0)
        if mask is not None and image is None:
            raise ValueError("a mask needs an image")
        checked = []
        for settings in all_settings:
            s, plan = self.completed(settings, image, mask), self.plan(settings, image, mask)
            if mask is not None and mask.shape != (s.height, s.width):
                raise ValueError(f"the mask has shape {mask.shape}: the image's is ({s.height}, {s.width})")
            if plan.image_weight is not None and image is None:
                raise ValueError("strength and start_step need an image")
            f = self.description.vae.factor
            shape = (s.height // f, s.width // f, self.description.vae.latent_channels)
            if noise is not None and noise.shape != (s.n_images, *shape):
                raise ValueError(f"the noise has shape {noise.shape}: this run's is {(s.n_images, *shape)}")
            checked.append((s, plan, shape))
        x0 = None if image is None else self.encode(image)
        given = None if noise is None else mx.array(noise).astype(mx.float32)
        inverted = self._inverter()
        return [Run(s, plan, shape, x0, image, mask, given, inverted) for s, plan, shape in checked]

    def walk(self, runs: Sequence[Run], batch_size: int | None = None) -> Iterator[tuple[int, Step]]:
        """Walk runs of the same `runs` call together, and yield `(which, step)` as steps are made.

        At most batch_size rows go into one network call (None: all); runs of different sizes follow each other.
        Raises MemoryError before the first step, and FloatingPointError where a latent becomes NaN or infinite.
        """
        sizes: dict[tuple[int, int, int], list[int]] = {}
        for i, run in enumerate(runs):
            if run.plan.steps_run:
                sizes.setdefault(run.shape, []).append(i)
        groups = [[runs[i] for i in indices] for indices in sizes.values()]
        for group in groups:
            self._check_memory(group, batch_size)
        return self._walk(list(zip(sizes.values(), groups, strict=True)), batch_size)

    def _walk(
        self, groups: Sequence[tuple[list[int], list[Run]]], batch_size: int | None
    ) -> Iterator[tuple[int, Step]]:
        for indices, group in groups:
            for which, step in lockstep(self._estimate(group), map(self._walker, group), batch_size):
                mx.eval(step.x, step.clean)
                _finite(step.x, f"step {step.index + 1}", self.dtype)
                yield indices[which], step

    def _walker(self, run: Run) -> Sampler:
        return self.planner.sampler(run.settings, run.plan, run.start, StepNoise(run.seeds, run.shape))

    def _estimate(self, runs: Sequence[Run]) -> DenoiseRows:
        """`denoise(x, sigma, which)` for runs of one size, image and mask."""
        first = runs[0]
        extra = self._repaint_channels(first) if self.planner.repaints else None

        def net(x: mx.array, t: mx.array, **conditioning: mx.array) -> mx.array:
            if extra is not None:
                x = mx.concatenate([x, mx.broadcast_to(extra, (*x.shape[:3], extra.shape[3]))], axis=-1)
            return self.unet(x.astype(self.dtype), t, **conditioning)

        predict = guided(net, self._guides([run.settings for run in runs]))
        whole_times = [run.settings.discretize == "timestep" for run in runs]
        x0, mask = first.x0, first.latent_mask

        def estimate(x: mx.array, sigma: mx.array, which: mx.array) -> mx.array:
            rows = [int(w) for w in which]
            denoise: Estimate = Denoiser(
                lambda x, t: predict(x, t, rows), self.schedule, [whole_times[row] for row in rows]
            )
            if mask is not None and x0 is not None and extra is None:
                denoise = masked(denoise, x0, mask)
            return denoise(x, sigma)

        return estimate

    def _repaint_channels(self, run: Run) -> mx.array:
        """What a 9-channel UNet sees besides the latents: the mask, and the latents of the image less the masked part.

        (1, h, w, 5). The mask is hard; what it hides is mid grey. Without a mask everything is to be painted.
        """
        f, mask, image = self.description.vae.factor, run.mask, run.image
        if mask is None or image is None:
            mask = mx.ones((run.settings.height, run.settings.width))
            image = mx.zeros((run.settings.height, run.settings.width, 3))
        hole = (mask >= 0.5).astype(mx.float32)
        return mx.concatenate([hole[None, ::f, ::f, None], self.encode(image * (1 - hole[..., None]))], axis=-1)

    def _inverter(self) -> Callable[[Run], Inversion]:
        """Inverts runs of one image; those with the same levels and source prompt, which is all that it takes, once."""
        known: dict[tuple[object, ...], Inversion] = {}

        def inverted(run: Run) -> Inversion:
            # Guidance makes the way up unstable; and the prompt is another one, so that the way down differs.
            s = replace(run.settings, prompt=run.settings.source_prompt, cfg=1.0, n_images=1)
            what = (s.prompt, s.clip_skip, s.discretize, run.plan.sigmas)
            if what not in known:
                rows = self._estimate([replace(run, settings=s, mask=None)])
                alone = replace(run, settings=s).images_latents

                def estimate(x: mx.array, sigma: float | mx.array) -> mx.array:
                    return rows(x, mx.array([sigma]), mx.array([0]))

                known[what] = invert(estimate, alone, run.plan.sigmas)
                _finite(known[what].latents[-1], "inverting the image", self.dtype)
                if fell_back := known[what].fell_back:
                    worst = max(known[what].residuals)
                    warnings.warn(
                        f"{fell_back} of {run.plan.steps_run} steps of the inversion did not settle and were taken "
                        f"plainly (off by up to {worst:.1g}): more steps make it more exact",
                        stacklevel=5,
                    )
            return known[what]

        return inverted

    def _check_memory(self, runs: Sequence[Run], batch_size: int | None) -> None:
        """Raise MemoryError for runs of one size whose largest array alone is more than this machine can hold.

        On a CPU, MLX would crash without a word.
        """
        if mx.default_device() != mx.cpu:
            return
        s = runs[0].settings
        size, f = (s.height, s.width), self.description.vae.factor
        images = sum(run.settings.n_images for run in runs)
        most = (
            images if batch_size is None else min(images, max(batch_size, *(run.settings.n_images for run in runs), 1))
        )
        rows = most * (1 if all(run.settings.cfg in (0, 1) for run in runs) else 2)
        numbers = rows * self.description.unet.largest_array(size[0] // f, size[1] // f)
        needed, there = 4 * max(numbers, self.description.vae.largest_array(*size)), memory()
        if needed > there:
            raise MemoryError(
                f"{most} of {s.width} x {s.height} at the same time take over {needed / 2**30:.0f} GiB of memory, and "
                f"there are {there / 2**30:.0f}: make them smaller, or fewer"
            )

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
        return (step for _, step in self.walk(self.runs([settings], image, mask, noise)))

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

    triangle = laboratory.triangle
    grid = laboratory.grid
    noising = laboratory.noising
    inversion = laboratory.inversion

    generate_latents = older.generate_latents
    generate_latents_from_image = older.generate_latents_from_image


class StableDiffusionXL(StableDiffusion):
    """StableDiffusion with another default model: what a checkpoint is, its config files say."""

    def __init__(self, model: str = "sdxl-turbo", float16: bool | None = None, quantize: int | None = None) -> None:
        super().__init__(model, float16, quantize)


def shown(step: Step, kind: Literal["noisy", "clean"] = "noisy") -> mx.array:
    """The latents that a frame of a step shows, at the scale of a picture."""
    return step.clean if kind == "clean" else step.x / (step.sigma**2 + 1) ** 0.5


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
