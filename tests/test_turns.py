"""Nets in turn: the same pictures to the bit, and never two nets' weights in memory."""

import gc
import resource
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_flatten
from safetensors.numpy import load_file, save_file

import image2image
import txt2image
from stable_diffusion import CheckpointError, Settings, StableDiffusion
from stable_diffusion.jobs import painting
from stable_diffusion.models.clip import CLIPTextModel
from stable_diffusion.models.unet import UNet2DConditionModel
from stable_diffusion.models.vae import AutoencoderKL
from stable_diffusion.pipeline import Inputs, memory
from stable_diffusion.pipeline.memory import Weights, needed, working
from stable_diffusion.presets import DEMO
from stable_diffusion.weights import saving
from stable_diffusion.weights.extras import LoRAUse
from tests.commands import SD1, img, made, pixels, txt

DATA = Path(__file__).parent / "data"
RNG = np.random.default_rng(7)
SMALL = Settings(prompt="a house", seed=3, steps=2, cfg=3.0, sampler="euler", width=32, height=32)
IMAGE = mx.array(RNG.uniform(-1, 1, (32, 32, 3)).astype(np.float32))
NETS = {"unet": UNet2DConditionModel, "text_encoder": CLIPTextModel, "autoencoder": AutoencoderKL}


@pytest.fixture(scope="module")
def extras(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two LoRAs for the UNet and the text encoder, and an embedding, of the smallest checkpoint."""
    folder, sd = tmp_path_factory.mktemp("extras"), StableDiffusion(SD1, float16=False)
    shapes = {
        "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_q": sd.unet.down_blocks[1]
        .attentions[0]
        .transformer_blocks[0]
        .attn1.to_q.weight.shape,
        "lora_te_text_model_encoder_layers_1_self_attn_v_proj": sd.text_encoder.encoder.layers[
            1
        ].self_attn.v_proj.weight.shape,
    }
    for name in ("red", "blue"):
        factors = {}
        for module, (out, into) in shapes.items():
            factors[f"{module}.lora_up.weight"] = RNG.normal(size=(out, 2)).astype(np.float32)
            factors[f"{module}.lora_down.weight"] = RNG.normal(size=(2, into)).astype(np.float32)
        save_file(factors, folder / f"{name}.safetensors")
    width = sd.description.texts[0].hidden_size
    save_file({"emb_params": RNG.normal(size=(2, width)).astype(np.float32)}, folder / "zorg.safetensors")
    return folder


def steps(sd: StableDiffusion, all_settings: Sequence[Settings], inputs: Inputs) -> list[mx.array]:
    """All that runs give which are walked together: latents and estimates, and the pictures at their ends."""
    runs = sd.begin([sd.planner.run(settings, inputs) for settings in all_settings])
    moves = list(sd.walk(runs))
    ends = {which: step.x for which, step in moves}
    return [array for _, step in moves for array in (step.x, step.clean)] + [sd.decode(x) for x in ends.values()]


TAGS = {"prompt_syntax": "a1111"}
MASK = mx.array((RNG.uniform(size=(32, 32)) > 0.5).astype(np.float32))


@pytest.mark.parametrize(
    ("model", "options", "changes", "inputs"),
    [
        ("sd1", {}, [{}], Inputs()),
        ("sd1", {"quantize": 8}, [{}], Inputs()),
        ("sd1", {"loras": [("red", 0.5, 0.8)]}, [{}], Inputs(IMAGE)),
        ("sd1", {"loras": ["red"], "quantize": 4}, [{"prompt": "a<lora:blue>", **TAGS}, TAGS], Inputs()),
        ("sd1", {"lora_dir": ""}, [{"prompt": f"b<lora:{n}:0.5>", **TAGS} for n in ("red", "blue", "red")], Inputs()),
        ("sd1", {"embeddings": ["zorg"], "loras": ["blue"]}, [{"prompt": "a zorg"}], Inputs()),
        ("sd1", {}, [{"prompt": "a"}, {"prompt": "b", "width": 48}, {"prompt": "c", "cfg": 1.0}], Inputs()),
        ("sd1", {}, [{"prompt": "[a:b:0.5] AND c", **TAGS}, {"n_images": 2}], Inputs()),
        ("sd1", {}, [{"start": "inversion", "source_prompt": "b"}, {}], Inputs(IMAGE)),
        ("sd2", {"vae": "sd1/vae"}, [{"strength": 0.5}], Inputs(IMAGE, MASK)),
        ("inpainting", {}, [{}, {"prompt": "x"}], Inputs(IMAGE, MASK)),
        ("xl", {"quantize": 8}, [{}, {"prompt": "x"}], Inputs()),
    ],
)
def test_all_is_the_same_to_the_bit(
    extras: Path, model: str, options: dict[str, Any], changes: list[dict[str, Any]], inputs: Inputs
) -> None:
    def found(entry: Any) -> Any:
        if isinstance(entry, tuple):
            return (found(entry[0]), *entry[1:])
        return str(extras / f"{entry}.safetensors")

    lists: dict[str, Any] = {
        name: list(map(found, options[name])) for name in ("loras", "embeddings") if name in options
    }
    more: dict[str, Any] = {**options, **lists, "lora_dir": str(extras)}
    if "vae" in more:
        more["vae"] = str(DATA / more["vae"])
    runs = [replace(SMALL, **change) for change in changes]
    plain, low = (
        steps(StableDiffusion(str(DATA / model), float16=False, low_memory=low, **more), runs, inputs)
        for low in (False, True)
    )
    assert len(plain) == len(low) > 2
    assert all(mx.array_equal(one, other) for one, other in zip(plain, low, strict=True))


class Call(NamedTuple):
    """A net that is called, and the bytes that are in memory just before."""

    net: str
    active: int


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[Call]:
    """The calls of nets, in order, with the memory besides what is there already."""
    gc.collect()
    found: list[Call] = []
    before = mx.get_active_memory()

    def watched(net: str, whole: Callable[..., Any]) -> Callable[..., Any]:
        def call(self: Any, *args: Any, **more: Any) -> Any:
            mx.synchronize()
            found.append(Call(net, mx.get_active_memory() - before))
            return whole(self, *args, **more)

        return call

    ways = {"unet": ["embed"], "text_encoder": ["__call__"], "autoencoder": ["encode", "decode"]}
    for net, kind in NETS.items():
        for way in ways[net]:  # embed: what every call of the UNet begins with, be it whole or not
            monkeypatch.setattr(kind, way, watched(net, getattr(kind, way)))
    return found


def sizes(sd: StableDiffusion) -> dict[str, int]:
    weights = sd.weights
    return {"unet": weights.unet, "text_encoder": weights.texts, "autoencoder": weights.autoencoder}


LITTLE = 600_000  # bytes: latents, a picture of 64 x 64 and what prompts become


def work(sd: StableDiffusion) -> None:
    """A bit of everything, with nothing kept of it."""
    settings = Settings(prompt="a house by a river", steps=2, width=64, height=64, seed=1)
    image = mx.zeros((64, 64, 3))
    sd.txt2img(settings)
    sd.img2img(replace(settings, strength=0.5, deep_cache=2), image)
    for step in sd.sample(replace(settings, n_images=2, start="inversion", strength=0.5), image):
        sd.frame(step)
    sd.triangle(settings, image, [0.5, 1.0])


def test_no_net_finds_another_in_memory(calls: list[Call]) -> None:
    sd = StableDiffusion("demo", float16=False, low_memory=True)
    own = sizes(sd)
    assert min(own.values()) > 4 * LITTLE
    work(sd)
    assert {call.net for call in calls} == set(own)
    for call in calls:
        assert call.active < own[call.net] + LITTLE, call
    sd.unet.update({})  # the nets are there still, and what is in memory of them is the last one's alone
    gc.collect()
    assert max(call.active for call in calls if call.net == "unet") > own["unet"]


def test_without_it_they_stay(calls: list[Call]) -> None:
    """What tells the memory of nets does tell it."""
    sd = StableDiffusion("demo", float16=False)
    work(sd)
    assert calls[-1].active > sum(sizes(sd).values())


def test_of_loras_nothing_stays_either(calls: list[Call], tmp_path: Path) -> None:
    """Factors that are as large as the nets: those of the net that does not work are not in memory."""
    sd = StableDiffusion("demo", float16=False)
    factors = {}
    for net, prefix in ((sd.unet, "lora_unet_"), (sd.text_encoder, "lora_te_text_model_")):
        for path, module in net.named_modules():
            if path.endswith(("to_q", "to_v", "q_proj", "v_proj")):
                name, (out, into) = prefix + path.replace(".", "_"), module.weight.shape
                factors[f"{name}.lora_up.weight"] = RNG.normal(size=(out, 600)).astype(np.float32) / 100
                factors[f"{name}.lora_down.weight"] = RNG.normal(size=(600, into)).astype(np.float32) / 100
    save_file(factors, tmp_path / "large.safetensors")
    assert sum(array.nbytes for array in factors.values()) > 8 * LITTLE
    own, use = sizes(sd), LoRAUse(str(tmp_path / "large.safetensors"), 0.5)
    del sd, factors
    gc.collect()
    for options in ({"loras": [use]}, {}):
        sd = StableDiffusion("demo", float16=False, low_memory=True, **options)  # type: ignore[arg-type]
        run = sd.planner.run(Settings(prompt="a house", steps=2, width=64, height=64, seed=1))
        for _, step in sd.walk(sd.begin([run if options else replace(run, lora=use)])):
            sd.decode(step.x)
        sd.wear(None)
    assert len(calls) > 8
    for call in calls:
        assert call.active < own[call.net] + LITTLE, call


def test_a_finished_picture_and_not_every_step_is_a_turn(
    calls: list[Call], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["a house", "--seed", "1", "--n_images", "2", "-sd", "1", "--animate", "film.gif", "--save-latents"]
    assert txt(*words, "--html", "page.html", "-o", "plain.png") == 0
    (tmp_path / "plain").mkdir()
    for name in made():
        Path(name).rename(Path("plain", name.replace("plain", "low"))) if Path(name).is_file() else None
    calls.clear()
    assert txt(*words, "--html", "page.html", "-o", "low.png", "--low-memory") == 0
    nets = [call.net for call in calls]
    turns = [net for k, net in enumerate(nets) if k == 0 or nets[k - 1] != net]
    # One run after the other: its steps, then its start, steps and picture.
    assert turns == ["text_encoder", *(["unet", "autoencoder"] * 2)]
    assert nets.count("unet") == 2 * 4 and nets.count("autoencoder") > 2 * 5
    names = [name for name in made() if Path(name).is_file()]
    assert len(names) > 10 and names == sorted(path.name for path in Path("plain").iterdir())
    for name in names:
        if name.endswith((".png", ".gif")):
            assert np.array_equal(pixels(name), pixels(f"plain/{name}")), name


def test_pictures_that_are_decoded_together_are_one_turn(
    calls: list[Call], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert txt("a house", "--n_images", "5", "--seed", "1", "--low-memory", "--decoding_batch_size", "2") == 0
    assert [call.net for call in calls].count("autoencoder") == 3
    assert len(made()) == 6


def test_what_is_finished_is_kept_where_a_job_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    count = iter(range(100))
    whole = UNet2DConditionModel.__call__

    def stopping(self: UNet2DConditionModel, *args: Any, **more: Any) -> mx.array:
        if next(count) == 6:
            raise KeyboardInterrupt
        return whole(self, *args, **more)

    monkeypatch.setattr(UNet2DConditionModel, "__call__", stopping)
    assert txt("a house", "--n_images", "3", "--seed", "1", "--low-memory", "-sd", "1") == 130
    assert "out-seed1.png" in made() and "out-seed2.png" not in made()
    assert {"out-seed2-step1.png", "out-seed2-step2.png", "out-seed2-steps.png"} <= set(made())


@pytest.mark.parametrize("low", [[], ["--low-memory"]])
@pytest.mark.parametrize("decoded", [1, 4])
def test_ctrl_c_while_a_frame_is_decoded_loses_that_frame_alone(
    decoded: int, low: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    count = iter(range(100))
    whole = AutoencoderKL.decode

    def stopping(self: AutoencoderKL, *args: Any) -> mx.array:
        if next(count) == decoded:
            raise KeyboardInterrupt
        return whole(self, *args)

    monkeypatch.setattr(AutoencoderKL, "decode", stopping)
    words = ["--n_images", "2", "--batch-size", "2", "--decoding_batch_size", "2", "--steps", "4"]
    assert txt("a house", *words, "--seed", "1", "-sd", "1", "--save-latents", *low) == 130
    assert {"out.safetensors", "out-seed1-steps.png", "out-seed1-step1.png"} <= set(made())
    if low:  # all steps were made before the first of them was decoded
        assert {"out-seed1.png", "out-seed2.png"} <= set(made())


def test_runs_that_alternate_wear_their_own(extras: Path) -> None:
    """Two iterators over one model, each with LoRAs of its own."""
    asked = [replace(SMALL, prompt=f"a <lora:{name}:0.8>", **TAGS) for name in ("red", "blue")]  # type: ignore[arg-type]
    for low in (False, True):
        sd = StableDiffusion(SD1, float16=False, lora_dir=str(extras), low_memory=low)
        alone = [list(sd.sample(settings))[-1].x for settings in asked]
        assert not mx.array_equal(alone[0], alone[1])
        together = list(zip(*(sd.sample(settings) for settings in asked), strict=True))[-1]
        assert all(mx.array_equal(step.x, x) for step, x in zip(together, alone, strict=True))


def test_a_triangle_from_the_command_line_is_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(DEMO / "sketch.png", "in.png")
    words = ["in.png", "a house", "--seed", "1", "--width", "32", "--height", "32", "-gt", "0.5,1"]
    for name, low in (("a.png", []), ("b.png", ["--low-memory"])):
        assert img(*words, "--triangle-shape", "pyramid", *low, "-o", name) == 0
    assert np.array_equal(pixels("a-triangle.png"), pixels("b-triangle.png"))


def test_a_folder_is_saved_a_net_at_a_time(extras: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gc.collect()
    before, most = mx.get_active_memory(), []
    whole = saving.write_tensors

    def watched(file: Path, tensors: dict[str, mx.array], *rest: Any) -> None:
        most.append(mx.get_active_memory() - before)
        whole(file, tensors, *rest)

    monkeypatch.setattr(saving, "write_tensors", watched)
    sd = StableDiffusion("demo", float16=False, low_memory=True, quantize=8)
    sd.save(tmp_path / "low")
    assert len(most) == 3 and max(most) < LITTLE  # when a net's turn comes, nothing of the ones before is there
    StableDiffusion("demo", float16=False, quantize=8).save(tmp_path / "plain")
    for net in ("unet", "vae", "text_encoder"):
        (file,) = (tmp_path / "low" / net).glob("*.safetensors")
        ours, wanted = (load_file(file), load_file(tmp_path / "plain" / net / file.name))
        assert ours.keys() == wanted.keys() and all(np.array_equal(ours[k], wanted[k]) for k in wanted)


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="where Linux does not tell what a process takes")
def test_nothing_piles_up_from_turn_to_turn() -> None:
    sd, sizes = StableDiffusion(SD1, float16=False, low_memory=True), []
    for _ in range(30):
        sd.txt2img(replace(SMALL, steps=1, width=16, height=16))
        sizes.append(int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20)
    assert sizes[-1] - sizes[9] < 5, sizes


def test_files_are_looked_for_once(extras: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the Hub, say, which need not answer any more."""
    red, zorg = str(extras / "red.safetensors"), str(extras / "zorg.safetensors")
    sd = StableDiffusion(SD1, float16=False, loras=[red], embeddings=[zorg], low_memory=True)
    wanted = sd.txt2img(replace(SMALL, prompt="a zorg"))
    asked: list[str] = []

    def offline(name: str, what: str) -> Path:
        asked.append(name)
        if not Path(name).is_file():
            raise AssertionError(name)
        return Path(name)

    monkeypatch.setattr("stable_diffusion.weights.extras.locate_extra", offline)
    sd.embeddings = (("somebody/zorg", None),)
    assert mx.array_equal(sd.txt2img(replace(SMALL, prompt="a zorg")), wanted)
    assert red not in asked


def test_it_can_be_switched_while_a_lora_is_worn(extras: Path) -> None:
    red, blue = (LoRAUse(str(extras / f"{name}.safetensors"), 0.7) for name in ("red", "blue"))
    sd = StableDiffusion(SD1, float16=False)

    def states() -> dict[str, mx.array]:
        found: dict[str, mx.array] = {}
        for name, net in sd.nets.items():
            arrays: dict[str, mx.array] = dict(tree_flatten(net.parameters()))
            found |= {f"{name}.{path}": array for path, array in arrays.items()}
        return found

    def same(one: dict[str, mx.array], other: dict[str, mx.array]) -> bool:
        return one.keys() == other.keys() and all(mx.array_equal(one[k], other[k]) for k in one)

    plain = states()
    sd.wear(red)
    worn = states()
    assert not same(worn, plain)
    sd.low_memory = True
    sd.decode(mx.zeros((1, 4, 4, 4)))  # lets go of what may have been read
    assert same(states(), worn)
    sd.wear(blue, red)
    sd.low_memory = False
    sd.wear(red)
    assert same(states(), worn)
    sd.wear(None)
    assert same(states(), plain)


def test_nets_that_were_deleted_stay_so(extras: Path) -> None:
    sd = StableDiffusion(SD1, float16=False, low_memory=True, loras=[str(extras / "red.safetensors")])
    latents = list(sd.sample(SMALL))[-1].x
    del sd.unet, sd.text_encoder
    assert sd.decode(latents).shape == (1, 32, 32, 3)
    assert list(sd.nets) == ["autoencoder"]


def test_all_weights_cannot_be_read_at_once() -> None:
    with pytest.raises(ValueError, match="low_memory has each net in memory only while it works"):
        StableDiffusion(SD1, float16=False, low_memory=True).ensure_models_are_loaded()


@pytest.mark.parametrize("words", [["a house", "--preload-models"], ["--redraw", "a.safetensors"]])
def test_what_it_does_not_go_with_is_a_usage_error(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        txt2image.main([*words, "--low-memory"])
    assert stopped.value.code == 2 and "--low-memory" in capsys.readouterr().err


def test_a_nan_is_still_traced_to_its_net(tmp_path: Path) -> None:
    folder = shutil.copytree(DATA / "sd1", tmp_path / "broken")
    (file,) = (folder / "unet").glob("*.safetensors")
    weights = load_file(file)
    weights["conv_out.bias"][0] = np.nan
    save_file(weights, file)
    sd = StableDiffusion(str(folder), float16=False, low_memory=True)
    with pytest.raises(FloatingPointError, match=r"'conv_out\.bias' of the unet"):
        list(sd.sample(SMALL))


# Chosen by itself


def short_of(sd: StableDiffusion, settings: Settings) -> int:
    """Memory that is enough for each net, and not for all of them."""
    run = sd.planner.run(settings)
    in_turn = needed(sd.description, [run], 1, sd.dtype, Weights.of(sd.nets, in_turn=True))
    assert in_turn < needed(sd.description, [run], 1, sd.dtype, Weights.of(sd.nets), at_once=1)
    return 4 * in_turn // 3 + 4


@pytest.mark.parametrize("command", ["txt", "img"])
def test_where_there_is_no_room_it_is_chosen_and_said(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(DEMO / "sketch.png", "in.png")
    start = ["in.png"] if command == "img" else []
    words = [*start, "a house", "--model", "demo", "--seed", "1", "--steps", "2", "--width", "64", "--height", "64"]
    main = image2image.main if command == "img" else txt2image.main
    assert main([*words, "-o", "plain.png"]) == 0
    assert "--low-memory" not in capsys.readouterr().err
    sd = StableDiffusion("demo", float16=False)
    total = short_of(sd, Settings(prompt="a", width=64, height=64))
    monkeypatch.setattr(memory, "available", lambda: total)
    loaded: list[StableDiffusion] = []
    begin = StableDiffusion.begin

    def seeing(sd: StableDiffusion, *args: Any) -> Any:
        loaded.append(sd)
        return begin(sd, *args)

    monkeypatch.setattr(StableDiffusion, "begin", seeing)
    assert main([*words, "-o", "short.png"]) == 0
    said = capsys.readouterr().err
    assert said.count("there is no room for all nets beside a picture of 64 x 64") == 1
    assert loaded[0].low_memory
    assert np.array_equal(pixels("plain.png"), pixels("short.png"))
    assert main([*words, "-o", "asked.png", "--low-memory"]) == 0
    assert "there is no room" not in capsys.readouterr().err  # nothing is chosen that was asked for
    assert main([*words, "--plan"]) == 0
    said = capsys.readouterr().err
    assert "as with --low-memory" in said and "each net in memory only while it works" in said


def test_a_plan_says_what_it_takes(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["a house", "--model", "demo", "--width", "256", "--height", "256", "--plan"]

    def line() -> str:
        assert txt2image.main(words) == 0
        (found,) = (line for line in capsys.readouterr().err.splitlines() if line.startswith("about "))
        return found

    sd = StableDiffusion("demo", float16=False)
    run = sd.planner.run(Settings(prompt="a house", width=256, height=256))
    takes = needed(sd.description, [run], 1, sd.dtype, sd.weights)
    weights = sum(sizes(sd).values())
    assert line() == f"about {takes / 2**30:.2f} GiB of memory at the most, {weights / 2**30:.2f} of it weights"
    work = working(sd.description, [run], 1, sd.dtype)
    less = memory.PROCESS + weights + work["unet"] - 1
    monkeypatch.setattr(memory, "room", lambda: less)
    monkeypatch.setattr(painting, "tight", lambda *_: False)
    assert line().endswith(" of it weights, 1 of the UNet's rows at a time")
    words.append("--low-memory")
    takes = needed(sd.description, [run], 1, sd.dtype, Weights.of(sd.nets, in_turn=True))
    assert line() == f"about {takes / 2**30:.2f} GiB of memory at the most, each net in memory only while it works"


def test_in_python_it_is_named_and_not_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    sd = StableDiffusion("demo", float16=False)
    settings = Settings(prompt="a", steps=1, width=64, height=64)
    total = short_of(sd, settings) * 3 // 4
    monkeypatch.setattr(memory, "available", lambda: total)
    with pytest.raises(MemoryError, match=r"have each net in memory only while it works \(--low-memory\)"):
        sd.sample(settings)
    sd.low_memory = True
    assert len(list(sd.sample(settings))) == 1
    monkeypatch.setattr(memory, "available", lambda: total // 2)
    with pytest.raises(MemoryError, match="make them smaller"):
        sd.sample(settings)


def test_a_lora_that_does_not_fit_leaves_all_as_it_was(extras: Path, tmp_path: Path) -> None:
    sd = StableDiffusion(SD1, float16=False, low_memory=True)
    before = list(sd.sample(SMALL))[-1].x
    save_file({"x.lora_up.weight": np.ones((2, 2), np.float32)}, tmp_path / "strange.safetensors")
    with pytest.raises(CheckpointError):
        sd.wear(LoRAUse(str(extras / "red.safetensors")), LoRAUse(str(tmp_path / "strange.safetensors")))
    assert mx.array_equal(list(sd.sample(SMALL))[-1].x, before)
