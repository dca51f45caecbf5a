import json
import math
import re
import shutil
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from stable_diffusion import SAMPLERS, Settings, StableDiffusion, StableDiffusionXL
from stable_diffusion.pipeline import Inputs
from stable_diffusion.pipeline.conditioning import guides
from tests.oracles import largest_difference

DATA = Path(__file__).parent / "data"
TINY = Settings(prompt="a house by the sea", seed=3, steps=4, cfg=3.0, sampler="euler", width=64, height=48)


@pytest.fixture(scope="module")
def sd() -> StableDiffusion:
    return StableDiffusion(str(DATA / "sd1"), float16=False)


@pytest.fixture(scope="module")
def image() -> mx.array:
    return mx.array(np.random.default_rng(0).uniform(-1, 1, (48, 64, 3)).astype(np.float32))


def test_pictures_have_their_size_and_range(sd: StableDiffusion, image: mx.array) -> None:
    for made in (sd.txt2img(replace(TINY, n_images=2)), sd.img2img(replace(TINY, n_images=2, strength=0.5), image)):
        assert made.shape == (2, 48, 64, 3)
        assert made.dtype == mx.float32
        assert 0 <= float(made.min()) <= float(made.max()) <= 1
        assert float(mx.std(made)) > 0.01


@pytest.mark.parametrize("size", [(8, 8), (8, 72), (56, 24), (104, 40)])
def test_any_multiple_of_8_is_a_size(sd: StableDiffusion, size: tuple[int, int]) -> None:
    made = sd.txt2img(replace(TINY, height=size[0], width=size[1], steps=1))
    assert made.shape == (1, *size, 3)


def test_picture_k_of_a_batch_is_that_of_seed_plus_k_alone(sd: StableDiffusion, image: mx.array) -> None:
    settings = replace(TINY, sampler="euler_a", n_images=3, strength=None)
    for source in (None, image):
        batch = list(sd.sample(settings, source))[-1].x
        for k in range(3):
            alone = list(sd.sample(replace(settings, seed=3 + k, n_images=1), source))[-1].x
            assert largest_difference(batch[k : k + 1], alone) < 1e-4


def test_pure_noise_at_strength_1_is_text_to_image_bit_for_bit(sd: StableDiffusion, image: mx.array) -> None:
    """With every sampler, all of them together: in either walk the same rows share a call."""
    inputs = Inputs(image)
    from_text = [sd.planner.run(replace(TINY, sampler=sampler)) for sampler in SAMPLERS]
    from_image = [sd.planner.run(replace(run.settings, strength=1.0, image_weight=0.0), inputs) for run in from_text]
    one, other = (list(sd.walk(sd.begin(runs))) for runs in (from_text, from_image))
    assert len(one) == len(other) == 4 * len(SAMPLERS)
    for (which, step), (its, same) in zip(one, other, strict=True):
        assert (which, step.index) == (its, same.index) and mx.array_equal(step.x, same.x), list(SAMPLERS)[which]
    alone = list(sd.sample(TINY))
    replaced = list(sd.sample(replace(TINY, strength=1.0, image_weight=0.0), image))
    assert all(mx.array_equal(a.x, b.x) for a, b in zip(alone, replaced, strict=True))


def test_strength_1_keeps_a_little_of_the_image(sd: StableDiffusion, image: mx.array) -> None:
    kept, replaced = (sd.img2img(replace(TINY, strength=1.0, image_weight=w), image) for w in (1.0, 0.0))
    assert largest_difference(kept, replaced) > 1e-3


def test_strength_0_is_the_picture_itself(sd: StableDiffusion, image: mx.array, net_calls: list[int]) -> None:
    same = sd.img2img(replace(TINY, strength=0.0, n_images=2), image)
    assert largest_difference(same, np.stack([np.array(image) / 2 + 0.5] * 2)) < 1e-6
    assert net_calls == []
    assert list(sd.sample(replace(TINY, strength=0.0), image)) == []


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("strength", [0.1, 0.6, 1.0])
def test_the_planned_calls_are_the_calls_that_happen(
    sd: StableDiffusion, image: mx.array, monkeypatch: pytest.MonkeyPatch, sampler: str, strength: float
) -> None:
    calls: list[int] = []

    def noted(self: Any, x: mx.array, *rest: mx.array, **more: mx.array) -> mx.array:
        """How often it is asked hangs on no answer."""
        calls.append(x.shape[0])
        return x

    monkeypatch.setattr(type(sd.unet), "__call__", noted)
    settings = replace(TINY, sampler=sampler, strength=strength, steps=5)
    steps = list(sd.sample(settings, image))
    assert len(calls) == sd.planner.run(settings, Inputs(image)).calls == sd.plan(settings, image).calls(sampler)
    assert len(steps) == sd.plan(settings, image).steps_run


@pytest.mark.parametrize(("cfg", "rows"), [(0.0, 2), (1.0, 2), (1.5, 4)])
def test_without_guidance_the_net_runs_once(sd: StableDiffusion, net_calls: list[int], cfg: float, rows: int) -> None:
    list(sd.sample(replace(TINY, cfg=cfg, n_images=2, steps=2)))
    assert net_calls == [rows, rows]


def test_the_noise_can_be_given(sd: StableDiffusion) -> None:
    noise = mx.random.normal((2, 6, 8, 4), key=mx.random.key(1))
    a, b = (list(sd.sample(replace(TINY, n_images=2, seed=seed), noise=noise))[-1].x for seed in (1, 2))
    assert mx.array_equal(a, b)
    with pytest.raises(ValueError, match="noise has shape"):
        sd.sample(TINY, noise=noise)


def test_a_small_perturbation_is_a_small_change_with_every_sampler(sd: StableDiffusion) -> None:
    perturbations = ((), ((9, 0.05),), ((9, 0.5),))
    asked = [replace(TINY, sampler=sampler, perturb=p) for sampler in SAMPLERS for p in perturbations]
    ends = {which: step.x for which, step in sd.walk(sd.begin([sd.planner.run(settings) for settings in asked]))}
    pictures = sd.decode(mx.concatenate([ends[which] for which in range(len(asked))]))
    for i, sampler in enumerate(SAMPLERS):
        parent, near, far = pictures[3 * i : 3 * i + 3]
        assert 0 < float(mx.abs(near - parent).mean()) < float(mx.abs(far - parent).mean()), sampler


def test_steps_end_at_zero_and_can_be_decoded(sd: StableDiffusion) -> None:
    steps = list(sd.sample(TINY))
    assert [step.sigma for step in steps] == list(sd.plan(TINY).sigmas[1:])
    assert mx.array_equal(sd.decode(steps[-1].x), sd.txt2img(TINY))


def test_the_prompt_the_negative_prompt_and_clip_skip_matter(sd: StableDiffusion) -> None:
    pictures = [
        sd.txt2img(replace(TINY, **change))
        for change in ({}, {"prompt": "a boat"}, {"negative_prompt": "fog"}, {"clip_skip": 1}, {"cfg_rescale": 0.7})
    ]
    for i, a in enumerate(pictures):
        for b in pictures[:i]:
            assert largest_difference(a, b) > 1e-4


def test_words_that_do_not_fit_are_told(sd: StableDiffusion) -> None:
    with pytest.warns(UserWarning, match="left out: '.*zebra'"):
        sd.txt2img(replace(TINY, steps=1, prompt="house " * 40 + "zebra", cut_prompt=True))


def test_a_long_prompt_is_told_whole_in_chunks(sd: StableDiffusion) -> None:
    long = replace(TINY, steps=2, prompt="house " * 40 + "zebra")
    with pytest.warns(UserWarning, match=r"the prompt is long, and is told in \d chunks of up to 75 tokens"):
        picture = sd.txt2img(long)
    with pytest.warns(UserWarning, match="chunks"):
        other = sd.txt2img(replace(long, prompt="house " * 40 + "boat"))
    assert largest_difference(picture, other) > 1e-4
    with pytest.warns(UserWarning, match="left out"):
        assert largest_difference(picture, sd.txt2img(replace(long, cut_prompt=True))) > 1e-4


def test_prompts_of_other_lengths_beside_it_change_no_picture(sd: StableDiffusion) -> None:
    runs = [
        sd.planner.run(replace(TINY, steps=2, prompt=prompt, prompt_syntax="a1111"))
        for prompt in ("a house", "a house BREAK a (boat:1.3) BREAK fog", "")
    ]
    together: dict[int, mx.array] = {}
    for which, step in sd.walk(sd.begin(runs)):
        together[which] = step.x
    for which, run in enumerate(runs):
        *_, (_, step) = sd.walk(sd.begin([run]))
        assert largest_difference(together[which], step.x) < 1e-4


def test_a_number_that_is_none_is_an_error_and_not_a_black_picture(sd: StableDiffusion) -> None:
    with pytest.raises(FloatingPointError, match="step 1 gave a NaN"):
        list(sd.sample(TINY, noise=mx.full((1, 6, 8, 4), mx.inf)))
    with pytest.raises(FloatingPointError, match="decoding"):
        sd.decode(mx.full((1, 6, 8, 4), mx.nan))
    with pytest.raises(FloatingPointError, match="encoding"):
        sd.encode(mx.full((48, 64, 3), mx.nan))


@pytest.mark.parametrize(
    ("wrong", "float16", "said"),
    [
        (mx.nan, False, "the weights hold some themselves, in 'conv_in.bias' of the unet: download them again"),
        (mx.nan, True, "the weights hold some themselves, in 'conv_in.bias' of the unet: download them again"),
        (1e6, True, "'conv_in.bias' of the unet is infinite in half precision: --no-float16"),
    ],
)
def test_of_what_is_no_number_the_reason_is_found(tmp_path: Path, wrong: float, float16: bool, said: str) -> None:
    folder = shutil.copytree(DATA / "sd1", tmp_path / "sd1")
    file = folder / "unet" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(file)
    tensors["conv_in.bias"][0] = wrong
    save_file(tensors, file)
    with pytest.raises(FloatingPointError, match=re.escape(said)):
        StableDiffusion(str(folder), float16=float16).txt2img(TINY)


def test_without_a_reason_in_the_files_what_can_be_tried_is_said(sd: StableDiffusion) -> None:
    with pytest.raises(FloatingPointError, match="try a smaller cfg, or other weights"):
        sd.txt2img(replace(TINY, cfg=3e38))
    with pytest.raises(FloatingPointError, match="what it was given holds some already"):
        sd.decode(mx.full((1, 6, 8, 4), mx.nan))


@pytest.mark.parametrize(
    ("change", "given", "word"),
    [
        ({"sampler": "eulr"}, {}, "eulr"),
        ({"spacing": "karas"}, {}, "karas"),
        ({"strength": 0.5}, {}, "need an image"),
        ({"start_step": 9}, {"image": True}, "start step 9"),
        ({"eta": 0.5}, {}, "euler_a"),
        ({"sampler": "euler", "width": 65536, "height": 65536}, {}, "GiB of memory"),
        ({"times": (999.0, 999.0), "steps": None}, {}, "must fall"),
        ({"times": (999.0, 9.0)}, {}, "steps is 4"),
        ({"times": (999.0, 9.0), "steps": None, "spacing": "karras"}, {}, "spacing is .karras."),
        ({"sampler": "tcd", "eta": 1.5}, {}, "from 0 to 1"),
        ({"sigmas": (3.0, 1.0), "steps": None, "strength": 0.5}, {"image": True}, "strength mode skip"),
        ({"sampler": "dpmpp_2m", "s_churn": 1.0}, {}, "'dpmpp_2m' has no s_churn"),
        ({"clip_skip": 3}, {}, "clip_skip is 3"),
        ({"width": 128}, {"image": True}, "64 x 48"),
        ({}, {"mask": True}, "a mask needs an image"),
    ],
)
def test_what_cannot_be_run_is_an_error_before_the_first_step(
    sd: StableDiffusion, image: mx.array, change: dict[str, object], given: dict[str, bool], word: str
) -> None:
    with pytest.raises((ValueError, MemoryError), match=word):
        sd.sample(
            replace(TINY, **change),  # type: ignore[arg-type]
            image if given.get("image") else None,
            mx.ones((48, 64)) if given.get("mask") else None,
        )


def test_the_settings_of_the_design_run_as_they_stand(sd: StableDiffusion, image: mx.array) -> None:
    settings = Settings(
        prompt="a lit fireplace", negative_prompt="", seed=7, n_images=2, width=None, height=None, steps=2, cfg=None,
        sampler=None, spacing=None, eta=1.0, s_churn=0.0, s_tmin=0.0, s_tmax=math.inf, s_noise=1.0, discretize="none",
        cfg_rescale=0.0, strength=None, strength_mode="level", start_step=None, image_weight=1.0,
        perturb=((1234, 0.2),), clip_skip=0,
    )  # fmt: skip
    assert sd.txt2img(settings).shape == (2, 64, 64, 3)
    assert sd.img2img(settings, image).shape == (2, 48, 64, 3)


def test_numpys_arrays_are_taken_as_they_are(sd: StableDiffusion, image: mx.array) -> None:
    mask = np.zeros((48, 64), dtype=np.float32)
    mask[:, 32:] = 1
    settings = replace(TINY, strength=0.6)
    for theirs, ours in (
        (sd.img2img(settings, np.array(image)), sd.img2img(settings, image)),  # type: ignore[arg-type]
        (sd.inpaint(settings, np.array(image), mask), sd.inpaint(settings, image, mx.array(mask))),  # type: ignore[arg-type]
    ):
        assert mx.array_equal(theirs, ours)
    for bad, hole, word in ((image * 255, None, "image has values"), (image, mx.array(mask) * 3, "mask has values")):
        with pytest.raises(ValueError, match=word):
            sd.sample(settings, bad, hole)


def test_a_given_noise_is_perturbed_too(sd: StableDiffusion) -> None:
    noise = mx.random.normal((1, 6, 8, 4), key=mx.random.key(1))
    plain, moved = (list(sd.sample(replace(TINY, perturb=p), noise=noise))[-1].x for p in ((), ((1, 0.5),)))
    assert largest_difference(plain, moved) > 0.1


def test_a_plan_is_made_without_the_nets() -> None:
    sd = StableDiffusion(str(DATA / "sd1"), float16=False)
    plan = sd.plan(TINY)
    del sd.unet, sd.autoencoder, sd.text_encoder
    assert sd.plan(TINY) == plan
    assert plan.calls("DPM++ 2M") == 4


@pytest.mark.skipif(mx.default_device() == mx.gpu, reason="on a GPU, MLX itself raises an error")
def test_pictures_that_cannot_be_held_are_an_error_and_not_a_crash(sd: StableDiffusion) -> None:
    sd.sample(replace(TINY, width=512, height=512))
    sd.sample(replace(TINY, width=2**16, height=8))
    for huge in (replace(TINY, width=2**16, height=2**16), replace(TINY, width=1024, height=1024, n_images=10_000)):
        with pytest.raises(MemoryError, match="make them smaller"):
            sd.sample(huge)


def test_v_prediction_with_no_signal_at_the_top_runs(tmp_path: Path, image: mx.array) -> None:
    folder = shutil.copytree(DATA / "sd2", tmp_path / "sd2")
    path = folder / "scheduler" / "scheduler_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"rescale_betas_zero_snr": True}))
    zsnr = StableDiffusion(str(folder), float16=False)
    plain = replace(TINY, sampler=None)
    assert zsnr.plan(plain).start_sigma == pytest.approx(4096, abs=0.01)
    assert zsnr.completed(plain).cfg_rescale == 0.7
    runs = zsnr.begin([zsnr.planner.run(replace(TINY, sampler=sampler)) for sampler in SAMPLERS])
    ends = {which: step.x for which, step in zsnr.walk(runs)}  # a number that is none would be an error
    assert sorted(ends) == list(range(len(SAMPLERS))) and {x.shape for x in ends.values()} == {(1, 6, 8, 4)}
    assert zsnr.txt2img(TINY).shape == (1, 48, 64, 3)


# Other families


def test_v_prediction_and_xl_run_too(image: mx.array) -> None:
    for family in ("sd2", "xl"):
        other = StableDiffusion(str(DATA / family), float16=False)
        assert other.schedule.prediction_type == ("v_prediction" if family == "sd2" else "epsilon")
        assert other.txt2img(replace(TINY, n_images=2)).shape == (2, 48, 64, 3)
        assert other.img2img(replace(TINY, strength=0.5, sampler="dpmpp_2m"), image).shape == (1, 48, 64, 3)


def test_xl_is_told_the_true_size(monkeypatch: pytest.MonkeyPatch) -> None:
    xl = StableDiffusionXL(str(DATA / "xl"), float16=False)
    seen: list[mx.array] = []
    kind = type(xl.unet)
    original = kind.__call__

    def watched(self: Any, *args: Any, **kwargs: mx.array) -> mx.array:
        seen.append(kwargs["time_ids"])
        return original(self, *args, **kwargs)

    monkeypatch.setattr(kind, "__call__", watched)
    list(xl.sample(replace(TINY, steps=1)))
    assert seen[0].tolist() == [[48, 64, 0, 0, 48, 64]] * 2


def test_xl_takes_nothing_for_an_empty_negative_prompt() -> None:
    xl = StableDiffusion(str(DATA / "xl"), float16=False)
    foggy = replace(TINY, negative_prompt="fog")
    assert xl.description.zero_empty_negative
    both = guides(xl.texts, xl.description, xl.dtype, [xl.completed(TINY), xl.completed(foggy)])
    empty, some = (guide.at(0).negative for guide in both)
    assert mx.abs(empty["context"]).max().item() == mx.abs(empty["text_embeds"]).max().item() == 0
    assert float(mx.abs(some["context"]).max()) > 0


@pytest.mark.parametrize("family", ["sd1", "inpainting"])
def test_kept_pixels_are_the_originals(family: str, image: mx.array) -> None:
    sd = StableDiffusion(str(DATA / family), float16=False)
    mask = np.zeros((48, 64), dtype=np.float32)
    mask[:, 32:] = 1
    made = np.array(sd.inpaint(replace(TINY, n_images=2, strength=0.9), image, mx.array(mask)))
    original = np.array(image) / 2 + 0.5
    assert np.abs(made[:, :, :32] - original[:, :32]).max() < 1e-6
    assert np.abs(made[:, :, 32:] - original[:, 32:]).mean() > 0.01


def test_outside_the_mask_the_latents_stay_on_the_line_to_the_image(sd: StableDiffusion, image: mx.array) -> None:
    mask = mx.concatenate([mx.zeros((48, 32)), mx.ones((48, 32))], axis=1)
    noise = mx.random.normal((1, 6, 8, 4), key=mx.random.key(1))
    x0 = sd.encode(image)
    for step in sd.sample(replace(TINY, strength=0.8), image, mask, noise):
        assert largest_difference(step.x[:, :, :4], (x0 + step.sigma * noise)[:, :, :4]) < 1e-4


def test_a_net_for_repainting_paints_from_text_too() -> None:
    sd = StableDiffusion(str(DATA / "inpainting"), float16=False)
    assert sd.txt2img(TINY).shape == (1, 48, 64, 3)


# The older MLX example


def test_code_for_the_older_example_runs(sd: StableDiffusion, image: mx.array) -> None:
    sd = StableDiffusion(str(DATA / "sd1"), float16=False)
    sd.ensure_models_are_loaded()
    latents = sd.generate_latents(
        "a photo of an astronaut",
        n_images=2,
        cfg_weight=7.5,
        num_steps=3,
        seed=0,
        negative_text="fog",
        latent_size=(6, 8),
    )
    seen = list(latents)
    assert len(seen) == 3
    x_t = seen[-1]
    from_image = list(
        sd.generate_latents_from_image(
            image, "a lit fireplace", strength=0.5, n_images=2, num_steps=4, cfg_weight=7.5, seed=1
        )
    )
    assert len(from_image) == 2
    (unchanged,) = sd.generate_latents_from_image(image, "a lit fireplace", strength=0.0)
    assert largest_difference(unchanged, sd.encode(image)) == 0
    del sd.text_encoder
    del sd.unet
    del sd.sampler
    decoded = sd.decode(x_t)
    assert decoded.shape == (2, 48, 64, 3)
    assert 0 <= float(decoded.min()) <= float(decoded.max()) <= 1
    assert set(sd.nets) == {"autoencoder"}
    del sd.autoencoder
    del sd.tokenizer


def test_the_older_sampler_noises_as_it_did(sd: StableDiffusion) -> None:
    x, key = mx.random.normal((1, 6, 8, 4), key=mx.random.key(1)), mx.random.key(2)
    n = mx.random.normal(x.shape, key=key)
    assert sd.sampler.max_time == 1000 and sd.sampler.sigmas == sd.schedule.sigmas
    for t, sigma in (
        (0, 0.0),
        (1, sd.schedule.sigmas[0]),
        (600, sd.schedule.sigmas[599]),
        (1000, sd.schedule.sigma_max),
    ):
        wanted = (x + sigma * n) / math.sqrt(1 + sigma**2)
        assert largest_difference(sd.sampler.add_noise(x, mx.array(t), key=key), wanted) < 1e-6
    half = sd.sampler.add_noise(x, 0.5, key=key)  # between its times, sigma is linear
    sigma = sd.schedule.sigmas[0] / 2
    assert largest_difference(half, (x + sigma * n) / math.sqrt(1 + sigma**2)) < 1e-6
    with pytest.raises(ValueError, match=r"time 1001 is outside \[0, 1000\]"):
        sd.sampler.add_noise(x, 1001)


def test_the_older_tokenizer_and_autoencoder_answer_as_they_did(sd: StableDiffusion, image: mx.array) -> None:
    ids, (padded, _) = sd.tokenizer.tokenize("a lit fireplace"), sd.tokenizer("a lit fireplace")
    assert ids == padded[: len(ids)] and ids[0] == sd.tokenizer.bos and ids[-1] == sd.tokenizer.eos
    assert sd.tokenizer.tokenize("a lit fireplace", prepend_bos=False, append_eos=False) == ids[1:-1]
    assert len(sd.tokenizer.tokenize("a house " * 100)) > 200  # nothing is cut
    mean, logvar = sd.autoencoder.encode(image[None])
    assert largest_difference(mean, sd.encode(image)) == 0 and mean.shape == logvar.shape
    moments = sd.autoencoder.quant_conv(sd.autoencoder.encoder(image[None]))
    spread = sd.description.checkpoint.parts["vae"].config["scaling_factor"] * mx.exp(moments[..., 4:] / 2)
    assert largest_difference(mx.exp(logvar / 2), spread) < 1e-6


def test_a_batch_of_one_image_is_taken(sd: StableDiffusion, image: mx.array) -> None:
    settings = Settings(prompt="a", strength=0.4, steps=4, seed=1)
    one, other = (sd.img2img(settings, given) for given in (image, image[None]))
    assert largest_difference(one, other) == 0 and largest_difference(sd.encode(image[None]), sd.encode(image)) == 0


def test_without_a_model_it_is_the_demo_and_says_so() -> None:
    with pytest.warns(UserWarning, match="no model is named, so it is 'demo'"):
        sd = StableDiffusion()
    assert sd.model == "demo"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        StableDiffusion("demo")


def test_what_is_not_xl_is_refused_by_the_older_class_for_xl() -> None:
    with pytest.raises(ValueError, match="'demo' is no Stable Diffusion XL: load it with StableDiffusion"):
        StableDiffusionXL("demo")


def test_the_older_steps_are_those_of_sample(sd: StableDiffusion) -> None:
    older = list(sd.generate_latents("a house", num_steps=3, cfg_weight=2.0, seed=0, latent_size=(6, 8)))
    settings = replace(TINY, prompt="a house", steps=3, cfg=2.0, seed=0, spacing="trailing")
    for x_t, step in zip(older, sd.sample(settings), strict=True):
        assert largest_difference(x_t, step.x / (1 + step.sigma**2) ** 0.5) < 1e-6


def test_the_older_xl_has_its_two_encoders() -> None:
    xl = StableDiffusionXL(str(DATA / "xl"), float16=False)
    latents = list(xl.generate_latents("a house", num_steps=2, cfg_weight=0.0, seed=0, latent_size=(8, 8)))
    del xl.text_encoder_1
    del xl.text_encoder_2
    assert len(latents) == 2
    assert set(xl.nets) == {"unet", "autoencoder"}


@pytest.mark.parametrize("bits", [4, 8])
def test_quantised_nets_paint_nearly_the_same(bits: int) -> None:
    plain, fewer = (StableDiffusion(str(DATA / "xl"), float16=False, quantize=q) for q in (None, bits))
    change = float(mx.abs(plain.txt2img(TINY) - fewer.txt2img(TINY)).mean())
    assert 0 < change < (0.2 if bits == 4 else 0.05)
