"""What a checkpoint would do with settings, told from its config files alone."""

from pathlib import Path

import mlx.core as mx
import pytest

from stable_diffusion import SAMPLERS, Settings
from stable_diffusion.pipeline import Inputs, Planner
from stable_diffusion.pipeline.masks import packed
from stable_diffusion.pipeline.planner import changed
from stable_diffusion.presets import Defaults, defaults_of

DATA = Path(__file__).parent / "data"
IMAGE = Inputs(mx.zeros((40, 56, 3)))


@pytest.fixture(scope="module")
def planner() -> Planner:
    return Planner.of(str(DATA / "sd1"))


def test_the_trained_side_is_the_default_size_and_an_image_has_its_own(planner: Planner) -> None:
    plain, with_image = planner.completed(Settings()), planner.completed(Settings(), IMAGE)
    assert (plain.width, plain.height, plain.strength) == (64, 64, None)
    assert (with_image.width, with_image.height, with_image.strength) == (56, 40, 0.75)


def test_a_net_for_repainting_repaints_all_under_a_mask() -> None:
    planner = Planner.of(str(DATA / "inpainting"))
    masked = Inputs(IMAGE.image, mx.ones((40, 56)))
    assert planner.completed(Settings(), masked).strength == 1.0
    assert planner.completed(Settings(), IMAGE).strength == 0.75


def test_levels_by_hand_start_an_image_at_the_first(planner: Planner) -> None:
    plan = planner.run(Settings(sigmas=(3.0, 1.0)), IMAGE).plan
    assert (plan.sigmas, plan.image_weight) == ((3.0, 1.0, 0.0), 1.0)


def test_zero_is_a_setting(planner: Planner) -> None:
    s = planner.completed(Settings(cfg=0.0, seed=0, strength=0.0), IMAGE)
    assert (s.cfg, s.seed, s.strength) == (0.0, 0, 0.0)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_what_is_complete_stays_as_it_is(planner: Planner, sampler: str) -> None:
    s = planner.completed(Settings(sampler=sampler, strength=0.5), IMAGE)
    assert planner.completed(s, IMAGE) == s
    by_hand = planner.completed(Settings(sampler=sampler, times=(900.0, 100.0)), IMAGE)
    assert planner.completed(by_hand, IMAGE) == by_hand


def test_a_strength_can_be_planned_before_there_is_an_image(planner: Planner) -> None:
    plan = planner.run(Settings(strength=0.5, steps=4)).plan
    assert plan.steps_run == 2 and plan.image_weight == 1.0


@pytest.mark.parametrize(
    ("settings", "inputs", "words"),
    [
        (Settings(clip_skip=9), IMAGE, "text encoder has"),
        (Settings(width=64), IMAGE, "the image is 56 x 40, and the settings ask for 64 x 40"),
        (Settings(sampler="euler", eta=0.5), IMAGE, "the sampler 'euler' has no eta: ddim"),
        (Settings(sigmas=(3.0, 1.0), steps=4), IMAGE, "leave it out where levels are chosen by hand"),
        (Settings(start="inversion"), Inputs(), "only a run that starts from an image"),
        (Settings(start="inversion", image_weight=0.0), IMAGE, "image_weight is 0"),
        (Settings(spacing="karas"), IMAGE, "did you mean karras"),
        (
            Settings(perturb=((1, 0.5, packed(mx.ones((1, 1)))),)),
            IMAGE,
            "a mask for 8 x 8, and the picture is 56 x 40",
        ),
    ],
)
def test_what_this_model_cannot_run_is_one_sentence(
    planner: Planner, settings: Settings, inputs: Inputs, words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        planner.run(settings, inputs)


def test_what_takes_the_place_of_a_setting_takes_its_companions_too() -> None:
    assert changed(Settings(start_step=3), {"strength": 0.5}) == Settings(strength=0.5)
    assert changed(Settings(strength=0.5), {"start_step": 3}) == Settings(start_step=3)
    assert changed(Settings(sampler="ddim", eta=0.5), {"sampler": "euler"}) == Settings(sampler="euler")
    assert changed(Settings(spacing="beta"), {"sampler": "DPM++ 2M Karras"}) == Settings(sampler="DPM++ 2M Karras")
    assert changed(Settings(sigmas=(3.0, 1.0), steps=2), {"steps": 9}) == Settings(steps=9)
    assert changed(Settings(steps=9, spacing="beta"), {"sigmas": (3.0,)}) == Settings(sigmas=(3.0,))


def test_a_checkpoints_scheduler_config_says_what_suits_it() -> None:
    assert defaults_of({"_class_name": "PNDMScheduler"}) == Defaults()
    lcm = defaults_of({"_class_name": "LCMScheduler"})
    assert defaults_of({"_class_name": "LCMScheduler"}, guidance_is_input=True).cfg == 8.0
    assert (lcm.sampler, lcm.spacing, lcm.steps, lcm.cfg) == ("lcm", "lcm", 4, 1.0)
    assert defaults_of({"_class_name": "TCDScheduler"}).sampler == "tcd"
    turbo = {"_class_name": "EulerAncestralDiscreteScheduler", "timestep_spacing": "trailing"}
    assert (defaults_of(turbo).steps, defaults_of(turbo).cfg) == (2, 0.0)
    assert defaults_of({"_class_name": "EulerDiscreteScheduler", "use_karras_sigmas": True}).spacing == "karras"
    zsnr = defaults_of({"_class_name": "DDIMScheduler", "rescale_betas_zero_snr": True})
    assert (zsnr.spacing, zsnr.cfg_rescale) == ("trailing", 0.7)
