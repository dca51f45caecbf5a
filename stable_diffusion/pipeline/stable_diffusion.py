"""StableDiffusion: the one place where nets and mathematics meet."""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import fields, replace
from functools import cached_property
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from ..compute.streams import done, one_at_a_time, spread, step_by_step
from ..config import TILES
from ..diffusion.noising import Inversion, NoisingKind
from ..diffusion.plan import Plan
from ..diffusion.samplers import Step
from ..diffusion.steps import FrameKind
from ..diffusion.walk import DenoiseRows, lockstep
from ..models.taesd import TinyAutoencoder
from ..models.unet import UNet2DConditionModel
from ..pictures.images import Picture, enlarged, to_picture
from ..presets import DEFAULT_MODEL
from ..settings import CompleteSettings, Settings
from ..weights.autoencoders import autoencoder_part
from ..weights.extras import LoRAUse, distilled, read_fitting
from ..weights.identity import checkpoint_hash
from ..weights.locate import locate_extra
from ..weights.nets import open_autoencoder
from ..weights.parts import Checkpoint
from .approximations import Approximations, seated, shallow
from .coding import decoded, encoded
from .conditioning import guides
from .estimate import estimate_of, in_parts, repaint_channels
from .frames import calculated, finite, shown
from .inputs import NOTHING, Inputs
from .inversion import invert_all
from .laboratory import Axis, grid_settings, triangle_settings, way_up
from .memory import Weights, check_memory, fitting, give_back, tiling
from .notebook import Rows, Steps, with_bar
from .older import OlderSampler, older_settings, variance_preserving
from .planner import Planner
from .previews import applied, fitted
from .run import Run
from .turns import Nets

TAESD = ("madebyollin/taesd", "madebyollin/taesdxl")  # for SD 1.x and 2.x, and for XL


class StableDiffusion(Nets):
    """A Stable Diffusion checkpoint: 1.x, 2.x, XL, turbo or inpainting; what it is, its own config files say.

    model: a preset's name, a Hugging Face repo id or a file in one, a folder in the diffusers layout, or a .safetensors
        file with everything in it; without one it is the demo. Or a Checkpoint, which need not lie in any file.
    float16: half precision; None means on a GPU only, because MLX is slow at it on a CPU. Latents, noise levels and
        coefficients are float32 always, and so is the autoencoder of an XL whose config says `force_upcast`. A picture
        for which half precision is too small in the autoencoder is coded again in float32, with a warning.
    quantize: bits (2, 3, 4, 6 or 8) of the weights of the UNet's and the text encoders' linear layers, or the name of
        one of MLX's kinds of small floats (mxfp4, mxfp8, nvfp4).
    loras: paths or Hub names, alone or as `(path, scale)` or `(path, scale of the UNet, scale of the texts)`; they are
        fused into the weights. lora_partial: leave out what in them fits nothing, instead of raising.
    vae: a folder, repo or file with an autoencoder that takes the place of the checkpoint's own; TAESD too.
    embeddings: paths or Hub names of textual inversions, or `(path, word)` pairs.
    prediction: "epsilon", "v_prediction" or "sample" (the clean latent), where a file does not say what its UNet
        predicts, or says it wrongly.
    lora_dir: the folder, and those in it, of the LoRAs that prompts name, <lora:name:0.8> in the syntax of a1111.
    tile: the autoencoder works on stripes of about tile x tile pixels, which takes less memory and longer, 1.2 to 1.7
        times. The pictures are the same to 1e-5 of their range. None: only where memory would not suffice else.
    low_memory: of the text encoders, the UNet and the autoencoder, only those that are at work have their weights in
        memory; they are opened anew when others begin to work, and read again when they are used again. The numbers are
        the same. It can be switched at any time. What was changed by hand in a net is lost then.

    Any number of threads may use one object, or several. One thread at a time works: a call of a method waits until the
    calls of others are over, and a walk lets others in between two of its steps. Pictures are the same to the bit. Nets
    that are called by themselves, `sd.unet(...)`, are not held apart.

    Weights are read when they are first used. `unet`, `text_encoder` (XL: `text_encoder_1`, `text_encoder_2`),
    `autoencoder`, `tokenizer` and `sampler` can be deleted to free their memory.
    Raises CheckpointError, a ValueError, for a model that cannot be loaded.
    """

    sampler: OlderSampler  # the older example's name for `schedule`

    @one_at_a_time
    def __init__(
        self,
        model: str | Checkpoint | None = None,
        float16: bool | None = None,
        quantize: int | str | None = None,
        loras: Sequence[Any] = (),
        vae: str | None = None,
        embeddings: Sequence[Any] = (),
        prediction: str | None = None,
        lora_partial: bool = False,
        lora_dir: str | None = None,
        tile: int | None = None,
        low_memory: bool = False,
    ) -> None:
        self.tile = tile
        if model is None:
            model = DEFAULT_MODEL
            warnings.warn(
                f"no model is named, so it is {model!r}, which paints small landscapes; the older example took "
                "'sd2.1-base'",
                stacklevel=2,
            )
        super().__init__(model, float16, quantize, loras, vae, embeddings, prediction, lora_partial, low_memory)
        self.schedule = self.description.schedule
        self.sampler = OlderSampler(**{f.name: getattr(self.schedule, f.name) for f in fields(self.schedule)})
        self.planner = Planner(self.model, self.description, distilled(self.loras), lora_dir)
        self.notes = self.planner.notes + self.notes

    @property
    def tile(self) -> int | None:
        """Pixels a side of what the autoencoder works on at once, from 16 to 65536; None: the whole, if it fits."""
        return self._tile

    @tile.setter
    def tile(self, side: int | None) -> None:
        if side is not None and (fault := TILES.fault(side)):
            raise ValueError(f"tile is {side!r}: it must be {fault}")
        self._tile = side

    @property
    def weights(self) -> Weights:
        """How large those of the nets that are still there are."""
        nets = {name: net for name, net in self.nets.items() if isinstance(net, nn.Module)}  # or somebody's own
        return Weights.of(nets, self.low_memory, self.tile)

    # From settings to pictures

    @one_at_a_time
    def completed(
        self, settings: Settings, image: mx.array | None = None, mask: mx.array | None = None
    ) -> CompleteSettings:
        """The settings with every None filled in, as `sample` with the same arguments would take them."""
        return self.planner.completed(settings, Inputs(image, mask))

    @one_at_a_time
    def plan(self, settings: Settings, image: mx.array | None = None, mask: mx.array | None = None) -> Plan:
        """What `sample` with the same arguments would do, without doing it."""
        return self.planner.run(settings, Inputs(image, mask)).plan

    @one_at_a_time
    def txt2img(self, settings: Settings) -> mx.array:
        """Pictures of the prompt: (n_images, H, W, 3) in [0, 1]."""
        return self._pictures(settings, NOTHING)

    @one_at_a_time
    def img2img(self, settings: Settings, image: mx.array) -> mx.array:
        """Pictures of the prompt that start from an image (H, W, 3) in [-1, 1]: (n_images, H, W, 3) in [0, 1].

        Strength 0 returns the image itself.
        """
        return self._pictures(settings, Inputs(image))

    @one_at_a_time
    def inpaint(self, settings: Settings, image: mx.array, mask: mx.array) -> mx.array:
        """Repaint an image (H, W, 3) in [-1, 1] where the mask (H, W) is 1: (n_images, H, W, 3) in [0, 1].

        Where the mask is 0, the pixels are the image's own.
        """
        painted, m = self._pictures(settings, Inputs(image, mask)), mx.array(mask)[..., None]
        return m * painted + (1 - m) * (mx.array(image) / 2 + 0.5)

    def _pictures(self, settings: Settings, inputs: Inputs) -> mx.array:
        (run,) = self.begin([self.planner.run(settings, inputs)])
        last = None
        for _, last in self.walk([run]):
            pass
        if last is not None:
            return self.decode(last.x)
        assert inputs.image is not None
        return mx.broadcast_to(inputs.image / 2 + 0.5, (settings.n_images, *inputs.image.shape))

    def sample(
        self,
        settings: Settings,
        image: mx.array | None = None,
        mask: mx.array | None = None,
        noise: mx.array | None = None,
        progress: bool = False,
    ) -> Iterator[Step]:
        """Walk n_images pictures, as one batch, from their start to noise level 0; the last step's x is to be decoded.

        image: (H, W, 3) in [-1, 1], to start from its noised latents; mask: (H, W) in [0, 1], 1 = repaint; noise:
        (n_images, h, w, 4) N(0, 1), instead of the seeds'; progress: show a bar. Nothing is yielded when the plan runs
        no steps. Raises ValueError before the first step for settings that cannot be run, and FloatingPointError where
        a latent becomes NaN or infinite.
        """
        run = self.planner.run(settings, Inputs(image, mask), noise)
        steps = (step for _, step in self.walk(self.begin([run])))
        return with_bar(steps, run.plan.steps_run) if progress else steps

    # The spine: encode the image and the text, start, walk, decode

    @one_at_a_time
    def encode(self, image: mx.array) -> mx.array:
        """A picture (H, W, 3) in [-1, 1], H and W multiples of 8 -> its latents (1, H / 8, W / 8, 4), float32.

        They are the mean of the encoder's distribution: the same picture always gives the same latents.
        """
        f = self.description.vae.factor
        image = image[0] if image.ndim == 4 and image.shape[0] == 1 else image
        if image.ndim != 3 or image.shape[2] != 3 or image.shape[0] % f or image.shape[1] % f:
            raise ValueError(f"the image has shape {image.shape}: it must be (H, W, 3), H and W multiples of {f}")
        self._let_work("autoencoder")
        return encoded(self.autoencoder, image[None], self.tile)

    @one_at_a_time
    def begin(self, runs: Sequence[Run]) -> list[Run]:
        """Give runs of the same image what they start from: its latents, and the inversion where they ask for one.

        Raises ValueError for runs that start from an image and have none, and MemoryError before any work for
        pictures that are too large.
        """
        first = runs[0].inputs
        # A caller's arrays may still be to be calculated, which only the thread that made them can.
        mx.eval([array for run in runs for array in (first.image, first.mask, run.noise) if array is not None])
        for run in runs:
            assert run.inputs.image is first.image, "runs that begin together share an image"
            if run.plan.image_weight is not None and run.inputs.image is None:
                raise ValueError("strength and start_step need an image")
        for size in dict.fromkeys(run.shape for run in runs):
            alike = [run for run in runs if run.shape == size]
            check_memory(self.description, alike, self.dtype, self.weights)
            if said := tiling(self.description, alike[0], self.dtype, self.tile):
                warnings.warn(said, stacklevel=2)
        for use in dict.fromkeys(use for run in runs for use in run.worn):
            read_fitting(use, self._told, self.description.family, self.lora_partial)
        x0 = None if first.image is None else self.encode(first.image)
        give_back()
        begun = [replace(run, x0=x0) for run in runs]
        inverting = [i for i, run in enumerate(begun) if run.settings.start == "inversion" and run.plan.steps_run]
        for i, run in zip(inverting, self.inverted([begun[i] for i in inverting]), strict=True):
            begun[i] = run
        return begun

    @one_at_a_time
    def inverted(self, runs: Sequence[Run]) -> list[Run]:
        """Runs that have begun, with the way up from their image along the model's own ODE."""
        made = list(runs)
        for uses in dict.fromkeys(run.worn for run in runs):
            self.wear(*uses)
            alike = [i for i, run in enumerate(runs) if run.worn == uses]
            found = invert_all([runs[i] for i in alike], self._estimate)
            for i, inversion in zip(alike, found, strict=True):
                finite(inversion.latents[-1], "inverting the image", self._in_turn, runs[i].original)
                made[i] = replace(runs[i], inversion=inversion)
        return made

    @one_at_a_time
    def walk(self, runs: Sequence[Run], batch_size: int | None = None) -> Iterator[tuple[int, Step]]:
        """Walk runs that have begun together, and yield `(which, step)` as steps are made.

        At most batch_size rows go into one network call (None: all that memory suffices for); those of other sizes or
        LoRAs follow each other.
        Raises MemoryError before the first step, and FloatingPointError where a latent becomes NaN or infinite.
        """
        alike: dict[tuple[tuple[LoRAUse, ...], tuple[int, int, int]], list[int]] = {}
        for i, run in enumerate(runs):
            if run.plan.steps_run:
                alike.setdefault((run.worn, run.shape), []).append(i)
        for indices in alike.values():
            check_memory(self.description, [runs[i] for i in indices], self.dtype, self.weights)
        return step_by_step(self._steps(runs, list(alike.values()), batch_size))

    def _steps(
        self, runs: Sequence[Run], groups: Sequence[Sequence[int]], batch_size: int | None
    ) -> Iterator[tuple[int, Step]]:
        for indices in groups:
            group = [runs[i] for i in indices]
            self.wear(*group[0].worn)
            samplers = (run.sampler(run.start, run.step_noise) for run in group)
            fit = fitting(self.description, group, self.dtype, self.weights, batch_size)
            approximations = Approximations(group)
            for which, step in lockstep(self._estimate(group, approximations, fit.at_once), samplers, fit.rows):
                approximations.moved(which)
                start, remedy = group[which].start, "try a smaller cfg, or other weights"
                finite(step.x, f"step {step.index + 1}", self._in_turn, start, remedy, [step.clean])
                yield indices[which], step
            give_back()

    def _estimate(
        self, runs: Sequence[Run], approximations: Approximations | None = None, at_once: int | None = None
    ) -> DenoiseRows:
        self._let_work(*self._encoders)
        told = guides(self.texts, self.description, self.dtype, [run.settings for run in runs])
        channels = repaint_channels(runs[0], self.encode) if self.planner.repaints else None
        if approximations is None or not approximations.wanted:
            unet = spread(lambda x, t, **more: self._net(runs)(x.astype(self.dtype), t, **more))
            return estimate_of(runs, in_parts(unet, at_once), told, self.schedule, channels)

        def net(x: mx.array, t: mx.array, **more: mx.array) -> tuple[mx.array, mx.array]:
            return done(lambda: shallow(self._net(runs), x.astype(self.dtype), t, **more))

        return estimate_of(runs, approximations.net(in_parts(net, at_once)), seated(told), self.schedule, channels)

    def _net(self, runs: Sequence[Run]) -> UNet2DConditionModel:
        """The UNet, about to be used, with what these runs wear: others may have gone on with theirs in between."""
        self.wear(*runs[0].worn)
        self._let_work("unet")
        return self.unet

    @one_at_a_time
    def decode(self, latents: mx.array) -> mx.array:
        """Latents (B, h, w, 4) at noise level 0 -> pictures (B, 8 h, 8 w, 3) in [0, 1], float32."""
        self._let_work("autoencoder")
        return mx.clip(decoded(self.autoencoder, latents, self.tile) / 2 + 0.5, 0, 1)

    # The laboratory

    @one_at_a_time
    def frame(self, step: Step, kind: FrameKind = "noisy") -> mx.array:
        """A step as pictures (B, H, W, 3) in [0, 1]: what it has become, at the scale of a picture, or the estimate."""
        return self.decode(shown(step, kind))

    @cached_property
    def tiny(self) -> TinyAutoencoder:
        """TAESD for this model's latents, for quick looks; downloaded once. Raises CheckpointError."""
        part = autoencoder_part(locate_extra(TAESD[self.description.xl], "TAESD"), self.description.checkpoint.latents)
        net = open_autoencoder(part, self.dtype, self.dtype == mx.float16)
        assert isinstance(net, TinyAutoencoder)
        return net

    @one_at_a_time
    def quick(self, latents: mx.array) -> mx.array:
        """Latents (B, h, w, 4) at noise level 0 -> pictures (B, 8 h, 8 w, 3) in [0, 1], by TAESD."""
        return mx.clip(decoded(self.tiny, latents, self.tile, "try --preview full (decode)") / 2 + 0.5, 0, 1)

    @one_at_a_time
    def preview(self, latents: mx.array) -> mx.array:
        """Latents (B, h, w, 4) at noise level 0 -> their colours (B, h, w, 3) in [0, 1], one pixel for 8 x 8.

        A linear map, fitted by least squares to the loaded autoencoder: next to nothing beside `decode`.
        """
        return applied(self._colours, latents)

    @cached_property
    def _colours(self) -> mx.array:
        """The linear map from latents to colours, fitted once to this autoencoder, and remembered from run to run."""
        identity = checkpoint_hash(self.description.checkpoint, self.dtype == mx.float16, ("vae",))
        return fitted(self.decode, self.description.vae.latent_channels, identity)

    @one_at_a_time
    def triangle(
        self,
        settings: Settings,
        image: mx.array,
        strengths: Sequence[float],
        mask: mx.array | None = None,
        batch_size: int | None = None,
    ) -> Rows:
        """Image-to-image at many strengths with one noise: a row of steps for each, all walked together.

        The first step of a row, with index -1, is the image noised once to that row's level; down these, the rows show
        the noising, and along a row the denoising. Strength 0 is a row of the image alone. settings.n_images must be 1.
        At most batch_size rows go into one network call (None: all), so that with None there are as many calls as the
        longest row makes. Raises what `sample` raises.
        """
        return Rows(self._rows(triangle_settings(settings, strengths), Inputs(image, mask), batch_size))

    @one_at_a_time
    def grid(
        self,
        settings: Settings,
        rows: Axis,
        columns: Axis | None = None,
        image: mx.array | None = None,
        mask: mx.array | None = None,
        batch_size: int | None = None,
    ) -> list[list[Steps]]:
        """A picture for each pair of values of two settings, `("sampler", ["euler", "heun"])` and `("cfg", [3, 7.5])`.

        Returns rows of columns of steps; the first step of each, with index -1, is its start. All of them are walked
        together as in `triangle`; those of different sizes, one size after the other. settings.n_images must be 1.
        Raises what `sample` raises, and ValueError for an axis that is no setting, or that has no values.
        """
        axes = [rows] if columns is None else [rows, columns]
        made = self._rows(grid_settings(settings, axes), Inputs(image, mask), batch_size)
        width = 1 if columns is None else len(columns[1])
        return [made[i : i + width] for i in range(0, len(made), width)]

    def _rows(self, all_settings: Sequence[Settings], inputs: Inputs, batch_size: int | None) -> list[Steps]:
        runs = self.begin([self.planner.run(settings, inputs) for settings in all_settings])
        rows = [Steps([calculated(run.first)], self._thumbnails) for run in runs]
        for which, step in self.walk(runs, batch_size):
            rows[which].append(step)
        return rows

    @one_at_a_time
    def noising(self, settings: Settings, image: mx.array, kind: NoisingKind = "ray") -> Steps:
        """The way from the image up to a start: clean to noisy, a step per level of `sample` with the same arguments.

        ray: one noise at every level. chain: noise added little by little. Both end at that run's start, chain bit for
        bit. inversion: the ODE walked up with settings.source_prompt, so that Euler steps with the same prompt lead
        back; it has no noise in it, and ends where a run with start="inversion" begins. The first step, at level 0, is
        the image's own latents. Raises ValueError for an image_weight other than 1: no way leads to a start without
        the image.
        """
        (run,) = self.begin([self.planner.run(settings, Inputs(image))])
        if kind == "inversion" and run.inversion is None:
            (run,) = self.inverted([run])
        return Steps(map(calculated, way_up(run, kind)), self._thumbnails)

    def _thumbnails(self, step: Step) -> list[Picture]:
        """A step's pictures at the size of pictures, and as coarse as previews."""
        f, previews = self.description.vae.factor, self.preview(shown(step))
        return [enlarged(to_picture(array), (f * array.shape[1], f * array.shape[0])) for array in previews]

    @one_at_a_time
    def inversion(self, settings: Settings, image: mx.array) -> Inversion:
        """The image walked up the model's own ODE, told settings.source_prompt and not guided, over the run's levels.

        What a run with start="inversion" begins with: describe the image in source_prompt, and in prompt what it shall
        become. The result says how exact every step is, and how many had to be taken explicitly.
        """
        (run,) = self.begin([self.planner.run(replace(settings, start="noise"), Inputs(image))])
        (run,) = self.inverted([run])
        assert run.inversion is not None
        return run.inversion

    # The older example's interface: latents in variance-preserving scale, the last of which can be decoded

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
        """The latents (n_images, h, w, 4) after each step of text-to-image.

        None means the model's default, and for the seed the time.
        """
        settings = older_settings(self.description.xl, text, n_images, num_steps, cfg_weight, negative_text, seed)
        if latent_size is not None:
            height, width = (side * self.description.vae.factor for side in latent_size)
            settings = replace(settings, height=height, width=width)
        return variance_preserving(self.sample(settings))

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
        settings = older_settings(self.description.xl, text, n_images, num_steps, cfg_weight, negative_text, seed)
        (run,) = self.begin([self.planner.run(replace(settings, strength=strength), Inputs(image))])
        if run.plan.steps_run == 0:
            return iter((run.original,))
        return variance_preserving(step for _, step in self.walk([run]))


class StableDiffusionXL(StableDiffusion):
    """StableDiffusion with another default model: what a checkpoint is, its config files say."""

    def __init__(self, model: str = "sdxl-turbo", float16: bool | None = None, quantize: int | None = None) -> None:
        super().__init__(model, float16, quantize)
        if not self.description.xl:
            raise ValueError(f"{model!r} is no Stable Diffusion XL: load it with StableDiffusion")
