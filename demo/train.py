"""Draw the scenes and train the demo checkpoint: `draw|vae|decoder|text|unet|export|resume --work DIR`.

Every command picks up where it was stopped when it is given again. A training has a budget of minutes, not of steps:
the learning rate falls along a cosine of the time spent, so that a run ends well, and when it is meant to, anywhere.
`scenes.npy` + `scenes.jsonl` are what is learned from, `unseen.*` what it is judged by.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import time
from collections.abc import Callable, Iterable
from copy import deepcopy
from dataclasses import asdict
from itertools import chain
from multiprocessing import Pool
from pathlib import Path
from typing import Any

import numpy as np
import scenes
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

TRAIN_SEED, UNSEEN_SEED = 0, 10_000_000
WORDINGS = 4
WIDTH = 128  # of the text encoder
CONTEXT = 77  # tokens, as in every Stable Diffusion
TRAIN_STEPS = 1000
ALIKE, PLEASING = 1.0, 0.3  # the shares of the discriminator's features and of its verdict beside the pixels
SHARPENED = 0.5  # the share of the decoder so taught in the mean that is exported; the rest is the one before

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu")
BFLOAT16 = DEVICE.type != "cpu" or torch.ops.mkldnn._is_mkldnn_bf16_supported()  # elsewhere ten times slower


# --- the loop ---


def fit(
    net: nn.Module, loss: Callable[[float], Tensor], work: Path, name: str, minutes: float, lr: float, decay: float,
    momentum: float = 0.9, pace: dict[str, float] | None = None,
) -> nn.Module:  # fmt: skip
    """Train `net` on `loss(progress)` for `minutes` in all, stopped time not counted; returns the averaged net.

    Progress runs from 0 to 1. State goes to `work/NAME.pt` every two minutes and comes from there when it exists.
    Adam W, a warm-up of 2 % of the budget, then a cosine down to nothing; `pace` has the parts that learn faster.
    """
    net.to(DEVICE).train()
    average = deepcopy(net).requires_grad_(False).eval()
    groups = paced(net, pace or {})
    optimizer = torch.optim.AdamW(groups, lr, betas=(momentum, 0.99), weight_decay=0.01, fused=DEVICE.type == "cuda")
    step, spent, running, path = 0, 0.0, 0.0, work / f"{name}.pt"
    if path.exists():
        state = torch.load(path, map_location=DEVICE, weights_only=True)
        net.load_state_dict(state["net"])
        average.load_state_dict(state["average"])
        if "optimizer" in state:  # an exported checkpoint has none
            optimizer.load_state_dict(state["optimizer"])
        step, spent, running = state["step"], state["spent"], state["running"]
    torch.manual_seed(1 + step)
    began, saved = time.monotonic() - spent, time.monotonic()
    while spent < 60 * minutes:
        progress = spent / (60 * minutes)
        rate = lr * min(1.0, progress / 0.02 + 0.01) * 0.5 * (1 + math.cos(math.pi * progress))
        for group in optimizer.param_groups:
            group["lr"] = group["pace"] * rate
        with torch.autocast(DEVICE.type, torch.bfloat16, enabled=BFLOAT16):
            value = loss(progress)
        optimizer.zero_grad()
        value.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        step += 1
        keep = min(decay, step / (step + 10))
        with torch.no_grad():
            torch._foreach_lerp_(list(average.parameters()), list(net.parameters()), 1 - keep)
        spent = time.monotonic() - began
        running += (float(value.detach()) - running) * max(0.01, 1 / step)
        if step % 50 == 0:
            log(work, name, step=step, minutes=round(spent / 60, 2), loss=round(running, 5))
        if time.monotonic() - saved > 120 or spent >= 60 * minutes:
            state = {"net": net.state_dict(), "average": average.state_dict(), "optimizer": optimizer.state_dict()}
            torch.save({**state, "step": step, "spent": spent, "running": running}, path.with_suffix(".part"))
            path.with_suffix(".part").replace(path)
            saved = time.monotonic()
    return average


def paced(net: nn.Module, pace: dict[str, float]) -> list[dict[str, Any]]:
    """The groups of an optimizer: every part of `net` that `pace` names, and all the rest at pace 1."""
    groups: dict[float, list[nn.Parameter]] = {}
    for name, value in net.named_parameters():
        groups.setdefault(pace.get(name.split(".")[0], 1.0), []).append(value)
    return [{"params": values, "pace": rate} for rate, values in groups.items()]


def averaged(work: Path, name: str) -> dict[str, Tensor]:
    """The averaged weights of a training, finished or not."""
    state = torch.load(work / f"{name}.pt", map_location="cpu", weights_only=True)["average"]
    assert isinstance(state, dict)
    return state


def part(weights: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}


def log(work: Path, name: str, **numbers: float) -> None:
    """One line of JSON, on the screen and at the end of `work/NAME.log`."""
    line = json.dumps(numbers)
    print(name, line, flush=True)
    with (work / f"{name}.log").open("a") as file:
        file.write(line + "\n")


# --- pictures ---


def render(seed: int) -> tuple[np.ndarray, scenes.Labels]:
    picture, _, labels = scenes.scene(seed)
    return np.asarray(picture), labels


def draw(work: Path, name: str, first: int, count: int) -> None:
    """`count` scenes from seed `first` on: NAME.npy (N, 128, 128, 3) bytes, NAME.jsonl what they show."""
    if (work / f"{name}.jsonl").exists():
        return
    shape = (count, scenes.SIZE, scenes.SIZE, 3)
    pictures = np.lib.format.open_memmap(work / f"{name}.npy", "w+", np.uint8, shape)
    lines = []
    with Pool() as pool:
        for k, (picture, labels) in enumerate(pool.imap(render, range(first, first + count), chunksize=32)):
            pictures[k] = picture
            lines.append(json.dumps(asdict(labels)))
    pictures.flush()
    (work / f"{name}.jsonl").write_text("\n".join(lines) + "\n")


def pictures(work: Path, name: str) -> np.ndarray:
    return np.load(work / f"{name}.npy", mmap_mode="r")


def at_hand(work: Path) -> Tensor:
    """The scenes to learn from, (N, 128, 128, 3) bytes: on a GPU in its memory, so that it need not wait for them."""
    data = torch.from_numpy(np.load(work / "scenes.npy", mmap_mode="c"))
    return data.to(DEVICE) if DEVICE.type == "cuda" else data


def shown(work: Path, name: str) -> list[scenes.Labels]:
    lines = [json.loads(line) for line in (work / f"{name}.jsonl").read_text().splitlines()]
    return [scenes.Labels(**{**line, "things": tuple(line["things"])}) for line in lines]


def captions(work: Path) -> list[list[str]]:
    """WORDINGS different captions of every scene."""
    labels = shown(work, "scenes")
    return [
        [scenes.caption(one, np.random.default_rng((wording, k))) for k, one in enumerate(labels)]
        for wording in range(WORDINGS)
    ]


def as_input(batch: np.ndarray | Tensor) -> Tensor:
    """(B, H, W, 3) bytes -> (B, 3, H, W) in [-1, 1]."""
    batch = batch if isinstance(batch, Tensor) else torch.from_numpy(np.array(batch))
    return batch.to(DEVICE).permute(0, 3, 1, 2).float() / 127.5 - 1


# --- autoencoder ---


def new_vae() -> AutoencoderKL:
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(16, 32, 64, 64), layers_per_block=1, latent_channels=4, norm_num_groups=8,
        sample_size=scenes.SIZE,
    )  # fmt: skip


def train_vae(work: Path, minutes: float, batch: int, lr: float) -> AutoencoderKL:
    """Crops of a quarter of the picture for the first 60 % of the time, four times as many, then whole pictures."""
    torch.manual_seed(0)
    vae, data = new_vae(), at_hand(work)

    def loss(progress: float) -> Tensor:
        side = scenes.SIZE // 2 if progress < 0.6 else scenes.SIZE
        count = batch * 2 if progress < 0.6 else batch
        corner = torch.randint(0, scenes.SIZE - side + 1, (count, 2)).tolist()
        which = torch.randint(0, len(data), (count,)).tolist()
        crops = [data[i, y : y + side, x : x + side] for i, (y, x) in zip(which, corner, strict=True)]
        x = as_input(torch.stack(crops))
        x = torch.where(torch.rand(count, 1, 1, 1, device=DEVICE) < 0.5, x.flip(3), x)
        latents = vae.encode(x).latent_dist
        y = vae.decode(latents.sample()).sample.float()
        prior = 0.5 * (latents.mean.float() ** 2 + latents.var.float() - 1 - latents.logvar.float()).mean()
        return F.l1_loss(y, x) + 2 * F.mse_loss(y, x) + 2e-4 * prior

    average = fit(vae, loss, work, "vae", minutes, lr, decay=0.998)
    assert isinstance(average, AutoencoderKL)
    return average


def new_discriminator() -> nn.Sequential:
    """(B, 6, H, W) -> (B, 1, H / 4, W / 4): whether a patch of 26 pixels is drawn (above 0) or decoded (below).

    Beside the picture it sees what the decoder made of the same latents before: what can be foretold from that, as
    the halo of a sharpening filter can, gives a picture away. It norms groups of channels, not the batch: what a
    picture looks like must not depend on its neighbours.
    """
    layers: list[nn.Module] = [nn.Sequential(nn.Conv2d(6, 32, 4, 2, 1), nn.LeakyReLU(0.2))]
    for before, kernel, stride in ((32, 4, 2), (64, 3, 1)):
        convolution = nn.Conv2d(before, 64, kernel, stride, 1, bias=False)
        layers.append(nn.Sequential(convolution, nn.GroupNorm(8, 64), nn.LeakyReLU(0.2)))
    return nn.Sequential(*layers, nn.Conv2d(64, 1, 3, 1, 1))


def judged(discriminator: nn.Sequential, x: Tensor, before: Tensor) -> list[Tensor]:
    """The features of every layer, and last the verdict on every patch."""
    x, out = torch.cat([x, before], 1), []
    for layer in discriminator:
        x = layer(x)
        out.append(x)
    return out


def train_decoder(work: Path, minutes: float, batch: int, lr: float) -> nn.ModuleDict:
    """The decoder learns to please a discriminator of patches too (Esser et al. 2021); the encoder stays as it is.

    For the first twentieth only pixels count, while the discriminator looks on. Then its hinge loss does too, and the
    distance between its features of what is drawn and of what is decoded, which stands for the perceptual loss of the
    original: no pretrained net is needed. Both are weighed by what they do to the last layer, as a share of what the
    pixels do to it.
    """
    torch.manual_seed(0)
    vae, data = new_vae(), at_hand(work)
    vae.load_state_dict(averaged(work, "vae"))
    old = deepcopy(vae).to(DEVICE).eval().requires_grad_(False)
    net = nn.ModuleDict({
        "decoder": vae.decoder, "post_quant_conv": vae.post_quant_conv, "discriminator": new_discriminator()
    }).requires_grad_(True)  # fmt: skip
    discriminator, last = net["discriminator"], vae.decoder.conv_out.weight
    assert isinstance(discriminator, nn.Sequential)

    def loss(progress: float) -> Tensor:
        x = as_input(data[torch.randint(0, len(data), (batch,), device=data.device)])
        x = torch.where(torch.rand(batch, 1, 1, 1, device=DEVICE) < 0.5, x.flip(3), x)
        with torch.no_grad():
            latents = old.encode(x).latent_dist.sample()
            before = old.decode(latents).sample
        y = vae.decode(latents).sample
        pixels = F.l1_loss(y.float(), x)
        value = pixels
        if progress > 0.05:
            discriminator.requires_grad_(False)
            with torch.no_grad():
                wanted = judged(discriminator, x, before)[:-1]
            *features, verdict = judged(discriminator, y, before)
            alike = torch.stack([F.l1_loss(a.float(), b.float()) for a, b in zip(features, wanted, strict=True)]).sum()
            for share, other in ((ALIKE, alike), (PLEASING, -verdict.float().mean())):
                ours, theirs = (torch.autograd.grad(v, last, retain_graph=True)[0].norm() for v in (pixels, other))
                value = value + share * (ours / (theirs + 1e-6)).clamp(max=1000) * other
            discriminator.requires_grad_(True)
        drawn, decoded = (judged(discriminator, v, before)[-1].float() for v in (x, y.detach()))
        return value + 0.5 * (F.relu(1 - drawn).mean() + F.relu(1 + decoded).mean())

    average = fit(net, loss, work, "decoder", minutes, lr, 0.998, momentum=0.5, pace={"discriminator": 4})
    assert isinstance(average, nn.ModuleDict)
    return average


@torch.inference_mode()
def psnr(vae: AutoencoderKL, data: np.ndarray) -> float:
    """Peak signal to noise of reconstructions in dB, from the mean squared error over all pictures."""
    errors = []
    for i in range(0, len(data), 32):
        x = as_input(data[i : i + 32])
        y = vae.decode(vae.encode(x).latent_dist.mean).sample.clamp(-1, 1)
        errors.append(((y - x) / 2).square().mean((1, 2, 3)))
    return float(-10 * torch.cat(errors).mean().log10())


# --- tokenizer ---

# Words that people say about pictures but the captions do not: so that theirs split into syllables, not letters.
ENGLISH = """
about above across after again against air all along already also always and another any around art as autumnal back
bad be beautiful because before behind below beside best better between big bird black blue boy branch bridge bright
brown building but calm can castle cat child church city classic close cloud coast cold color colour cool corner
country dark dawn day deep detailed dog door down dramatic dream dry dusk early earth east edge empty evening every
eye face fall family far farm fast few fine fire first flat flower flying for forest found fresh friend from front
full garden girl glowing gold good grass great green grey ground hand happy hard harbour haze head heart heavy high
hill his home horse hot hour house human ice image inside into island its kind lake land large last late leaf left
life light like line little lonely long look lost low made magic man many map master mist moment more morning moss
most mountain moving music near new next nice nothing north ocean of old one only orange other our out outside over
own paint painted painting palm paper part path peak people person picture pink place plain plant pond portrait purple
quality quiet rain rainbow red right ripple road rock roof room rose round rural sail same sand scene scenery sea
season second see seven shade shadow shape sharp she shine ship shore short side silver simple six sky sleep slow
small smoke smooth snow soft some song south space spring square star stone storm strange street strong style sunlight
sunny sunrise sweet tall ten that their them then there these thing this three through time tiny to top tower town
tree two under up valley very view village walk wall warm water watercolor watercolour wave way we weather well west
wet what when where white who wide wild wind window wine winter with without woman wonder wood word work world would
year yellow yes you young your
"""


def train_tokenizer(texts: Iterable[str], folder: Path) -> None:
    """A byte-level BPE in CLIP's form: 256 bytes, the same ending a word, merges in order, start, end (highest id)."""
    bpe = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    bpe.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    split = Regex(r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+")
    bpe.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(split, "removed", invert=True), pre_tokenizers.ByteLevel(add_prefix_space=False)
    ])  # fmt: skip
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=4000, min_frequency=1, initial_alphabet=alphabet, end_of_word_suffix="</w>", show_progress=False
    )
    bpe.train_from_iterator([*texts, *ENGLISH.split()], trainer)
    merges = [tuple(pair) for pair in json.loads(bpe.to_str())["model"]["merges"]]
    words = [*alphabet, *(byte + "</w>" for byte in alphabet), *dict.fromkeys(a + b for a, b in merges)]
    words = [*dict.fromkeys(words), "<|startoftext|>", "<|endoftext|>"]
    special = {"bos_token": words[-2], "eos_token": words[-1], "unk_token": words[-1], "pad_token": words[-1]}
    config = {"tokenizer_class": "CLIPTokenizer", "model_max_length": CONTEXT, "do_lower_case": True, **special}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps({word: i for i, word in enumerate(words)}, ensure_ascii=False))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in merges))
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")
    (folder / "special_tokens_map.json").write_text(json.dumps(special, indent=2) + "\n")


def tokenizer(work: Path) -> CLIPTokenizer:
    folder = work / "tokenizer"
    if not (folder / "vocab.json").exists():
        train_tokenizer(chain.from_iterable(captions(work)), folder)
    return CLIPTokenizer.from_pretrained(folder)


def tokens(words: CLIPTokenizer, texts: list[str]) -> Tensor:
    """(B, 77) ids, padded with the end of text."""
    ids = words(texts, padding="max_length", max_length=CONTEXT, truncation=True, return_tensors="pt").input_ids
    assert isinstance(ids, Tensor)
    return ids


# --- text encoder and UNet ---


def new_text_encoder(vocabulary: int) -> CLIPTextModel:
    config = CLIPTextConfig(
        vocab_size=vocabulary, hidden_size=WIDTH, intermediate_size=4 * WIDTH, projection_dim=WIDTH,
        num_hidden_layers=3, num_attention_heads=4, max_position_embeddings=CONTEXT, hidden_act="quick_gelu",
        bos_token_id=vocabulary - 2, eos_token_id=vocabulary - 1, pad_token_id=vocabulary - 1,
    )  # fmt: skip
    return CLIPTextModel(config)


def new_diffuser(vocabulary: int) -> nn.ModuleDict:
    """`text_encoder` and `unet`, which train together."""
    unet = UNet2DConditionModel(
        sample_size=16, in_channels=4, out_channels=4, cross_attention_dim=WIDTH, layers_per_block=1,
        block_out_channels=(64, 128, 192), attention_head_dim=4, norm_num_groups=16,
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
    )  # fmt: skip
    return nn.ModuleDict({"text_encoder": new_text_encoder(vocabulary), "unet": unet})


def new_schedule() -> DDIMScheduler:
    return DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", num_train_timesteps=TRAIN_STEPS,
        clip_sample=False, set_alpha_to_one=False, steps_offset=1, prediction_type="epsilon",
    )  # fmt: skip


def named(labels: scenes.Labels) -> list[float]:
    """1 for everything that a scene shows, 0 for everything that it does not."""
    shows = {labels.ground, labels.sky, labels.style, labels.season, *labels.things}
    vocabulary = (*scenes.GROUNDS, *scenes.SKIES, *scenes.STYLES, *scenes.SEASONS, *scenes.THINGS)
    return [float(word in shows) for word in vocabulary]


def train_text(work: Path, minutes: float, batch: int, lr: float) -> None:
    """The text encoder learns to name what a scene shows from the end of its caption and the padding after it.

    Stable Diffusion starts from CLIP, which has long read captions; a UNet that has to teach reading spends most of a
    short training on that.
    """
    torch.manual_seed(0)
    words = tokenizer(work)
    ids = torch.stack([tokens(words, texts) for texts in captions(work)]).to(DEVICE)  # (WORDINGS, N, 77)
    truth = torch.tensor([named(labels) for labels in shown(work, "scenes")]).to(DEVICE)  # (N, names)
    net = nn.ModuleDict({"text_encoder": new_text_encoder(len(words)), "names": nn.Linear(WIDTH, truth.shape[1])})

    def loss(progress: float) -> Tensor:
        which, wording = (torch.randint(0, count, (batch,), device=DEVICE) for count in (len(truth), WORDINGS))
        said = ids[wording, which]
        guess = net["names"](net["text_encoder"](said).last_hidden_state).float()  # (B, 77, names)
        ended = said == len(words) - 1
        wanted = truth[which][:, None].expand_as(guess)
        return F.binary_cross_entropy_with_logits(guess[ended], wanted[ended])

    fit(net, loss, work, "text", minutes, lr, decay=0.99)


@torch.inference_mode()
def encode(vae: AutoencoderKL, work: Path) -> Tensor:
    """(2, N, 4, 16, 16) latents of all scenes as they are and mirrored, unscaled; kept in `latents.pt`."""
    path = work / "latents.pt"
    if not path.exists():
        data = pictures(work, "scenes")
        both = []
        for flip in (False, True):
            parts = []
            for i in range(0, len(data), 128):
                x = as_input(data[i : i + 128])
                with torch.autocast(DEVICE.type, torch.bfloat16, enabled=BFLOAT16):
                    parts.append(vae.encode(x.flip(3) if flip else x).latent_dist.mean.float().cpu())
            both.append(torch.cat(parts))
        torch.save(torch.stack(both), path)
    return torch.load(path, weights_only=True)


def train_unet(work: Path, minutes: float, batch: int, lr: float) -> nn.ModuleDict:
    """Epsilon prediction on latents encoded once, with the text encoder; a tenth of the captions dropped."""
    torch.manual_seed(0)
    vae = load_vae(work)
    latents = encode(vae, work).to(DEVICE) * vae.config["scaling_factor"]
    words = tokenizer(work)
    ids = torch.stack([tokens(words, texts) for texts in captions(work)]).to(DEVICE)  # (WORDINGS, N, 77)
    nothing = tokens(words, [""]).to(DEVICE)
    net = new_diffuser(len(words))
    if not (work / "unet.pt").exists():  # its text encoder has learned more since
        net["text_encoder"].load_state_dict(part(averaged(work, "text"), "text_encoder."))
    alphas = new_schedule().alphas_cumprod.to(DEVICE)
    # The error that counts is that of v, 1 / alpha times epsilon's: at high noise, where the prompt decides what will
    # be seen, epsilon's own is next to nothing whatever the prompt. Held at 20, and down where noise is fine (SNR > 5).
    weight = (1 / alphas).clamp(max=20) * (5 * (1 - alphas) / alphas).clamp(max=1)

    def loss(progress: float) -> Tensor:
        mirrored, wording = (torch.randint(0, count, (batch,), device=DEVICE) for count in (2, WORDINGS))
        which = torch.randint(0, latents.shape[1], (batch,), device=DEVICE)
        x, said = latents[mirrored, which], ids[wording, which]
        text = torch.where(torch.rand(batch, 1, device=DEVICE) < 0.1, nothing, said)
        t = torch.randint(0, TRAIN_STEPS, (batch,), device=DEVICE)
        noise, a = torch.randn_like(x), alphas[t].view(-1, 1, 1, 1)
        context = net["text_encoder"](text).last_hidden_state
        guess = net["unet"](a.sqrt() * x + (1 - a).sqrt() * noise, t, context).sample.float()
        return (weight[t] * (guess - noise).square().mean((1, 2, 3))).mean()

    average = fit(net, loss, work, "unet", minutes, lr, decay=0.998)
    assert isinstance(average, nn.ModuleDict)
    return average


# --- the checkpoint ---


def load_vae(work: Path) -> AutoencoderKL:
    """The averaged autoencoder as far as it is trained, its scale measured: 1 / std of the scenes' latents.

    Where its decoder was sharpened, its weights are the mean of before and after (Wang et al. 2018, ESRGAN), which
    keeps crisp edges and loses most of the halos. The scale of an exported checkpoint is kept: its UNet knows no other.
    """
    vae = new_vae()
    vae.load_state_dict(averaged(work, "vae"))
    if (work / "decoder.pt").exists():
        sharper, weights = averaged(work, "decoder"), vae.state_dict()
        known = {name: weights[name].lerp(value, SHARPENED) for name, value in sharper.items() if name in weights}
        vae.load_state_dict({**weights, **known})
    vae.to(DEVICE).eval().requires_grad_(False)
    if (work / "scale.json").exists():
        vae.register_to_config(scaling_factor=json.loads((work / "scale.json").read_text()))
        return vae
    data = pictures(work, "scenes")[::20]
    with torch.inference_mode():
        parts = [vae.encode(as_input(data[i : i + 32])).latent_dist.mean for i in range(0, len(data), 32)]
    latents = torch.cat(parts)
    log(work, "scale", mean=float(latents.mean()), std=float(latents.std()))
    vae.register_to_config(scaling_factor=round(1 / float(latents.std()), 5))
    return vae


def export(work: Path, folder: Path) -> None:
    """The averaged nets as far as they are trained, in half precision, in the layout that diffusers loads."""
    vae, words = load_vae(work), tokenizer(work)
    net = new_diffuser(len(words))
    if (work / "unet.pt").exists():
        net.load_state_dict(averaged(work, "unet"))
    pipeline = StableDiffusionPipeline(
        vae=vae.cpu(), text_encoder=net["text_encoder"], tokenizer=words, unet=net["unet"], scheduler=new_schedule(),
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip
    unfinished = folder.with_name(folder.name + ".part")
    shutil.rmtree(unfinished, ignore_errors=True)
    pipeline.to(torch.float16).save_pretrained(unfinished)
    shutil.rmtree(unfinished / "tokenizer")
    shutil.copytree(work / "tokenizer", unfinished / "tokenizer")  # CLIP's own four files
    for file in unfinished.rglob("*.safetensors"):
        file.chmod(0o644)
    shutil.copytree(unfinished, folder, dirs_exist_ok=True)  # what else lies there is not ours
    shutil.rmtree(unfinished)


def resume(work: Path, folder: Path) -> None:
    """Lay out an exported checkpoint as the state of a training, so that `unet` goes on from it with a new budget."""
    pipeline = StableDiffusionPipeline.from_pretrained(folder, safety_checker=None, requires_safety_checker=False)
    net = nn.ModuleDict({"text_encoder": pipeline.text_encoder, "unet": pipeline.unet}).float()
    torch.save({"average": pipeline.vae.float().state_dict()}, work / "vae.pt")
    (work / "scale.json").write_text(json.dumps(pipeline.vae.config["scaling_factor"]))
    state = {"net": net.state_dict(), "average": net.state_dict(), "step": 0, "spent": 0.0, "running": 0.0}
    torch.save(state, work / "unet.pt")
    shutil.copytree(folder / "tokenizer", work / "tokenizer", dirs_exist_ok=True)


# --- command line ---


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=("draw", "vae", "decoder", "text", "unet", "export", "resume"))
    parser.add_argument(
        "--work", type=Path, required=True, metavar="DIR", help="scenes, latents, training states, logs"
    )
    parser.add_argument("--scenes", type=int, default=10_000, help="draw: how many (default: %(default)s)")
    parser.add_argument(
        "--minutes", type=float, default=40.0, help="vae, decoder, text, unet: the whole budget (default: %(default)s)"
    )
    parser.add_argument("--batch", type=int, help="vae, decoder, text, unet: scenes a step (default: 8, 4, 64, 16)")
    parser.add_argument(
        "--lr", type=float, help="vae, decoder, text, unet: highest learning rate (default: 2e-3, 2e-4, 1e-3, 1e-3)"
    )
    parser.add_argument("--to", type=Path, metavar="FOLDER", help="export: where to (default: DIR/export)")
    parser.add_argument("--start", type=Path, metavar="FOLDER", help="resume: the checkpoint to go on from")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    if args.command == "draw":
        draw(args.work, "unseen", UNSEEN_SEED, 400)
        draw(args.work, "scenes", TRAIN_SEED, args.scenes)
    elif args.command == "vae":
        vae = train_vae(args.work, args.minutes, args.batch or 8, args.lr or 2e-3)
        log(args.work, "psnr", unseen=psnr(vae, pictures(args.work, "unseen")))
    elif args.command == "decoder":
        train_decoder(args.work, args.minutes, args.batch or 4, args.lr or 2e-4)
        log(args.work, "psnr", unseen=psnr(load_vae(args.work), pictures(args.work, "unseen")))
    elif args.command == "text":
        train_text(args.work, args.minutes, args.batch or 64, args.lr or 1e-3)
    elif args.command == "unet":
        train_unet(args.work, args.minutes, args.batch or 16, args.lr or 1e-3)
    elif args.command == "resume":
        if args.start is None:
            parser.error("resume needs --start FOLDER")
        resume(args.work, args.start)
    else:
        export(args.work, args.to or args.work / "export")


if __name__ == "__main__":
    main()
