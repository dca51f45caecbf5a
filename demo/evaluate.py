"""Judge a demo checkpoint: `python demo/evaluate.py --model FOLDER --work DIR --sheet demo/sheet.png`.

Three questions, answered in tables: how well the autoencoder gives unseen scenes back; whether the pictures show what
was asked for, as a small classifier sees it that learned from drawn scenes (and is not shipped); and whether
image-to-image moves from its input to its prompt as strength grows.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import scenes
import torch
import torch.nn.functional as F
from diffusers import (
    AutoencoderKL,
    DPMSolverMultistepScheduler,
    StableDiffusionImg2ImgPipeline,
    StableDiffusionPipeline,
)
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from train import DEVICE, UNSEEN_SEED, as_input, pictures, psnr, shown

Pictures = NDArray[np.uint8]  # (N, 128, 128, 3)
HEADS = {"ground": scenes.GROUNDS, "sky": scenes.SKIES, "style": scenes.STYLES}
STRENGTHS = (0.2, 0.4, 0.6, 0.8, 1.0)
EVALUATION_SEED = 2 * UNSEEN_SEED  # prompts and sketches: neither trained on nor shown to the classifier


# --- generation: the only part that knows how pictures are made ---


@dataclass(frozen=True)
class Default:
    """The settings that the package's preset uses too."""

    steps: int
    cfg: float


def load(model: Path) -> StableDiffusionPipeline:
    """The checkpoint as diffusers loads it, in float32, with DPM-Solver++ (2M) and trailing steps."""
    pipeline = StableDiffusionPipeline.from_pretrained(model, torch_dtype=torch.float32)
    pipeline.scheduler = DPMSolverMultistepScheduler.from_config(
        pipeline.scheduler.config, timestep_spacing="trailing", algorithm_type="dpmsolver++"
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline.to(DEVICE)


def generate(
    pipeline: StableDiffusionPipeline, prompts: list[str], default: Default, seed: int,
    images: Pictures | None = None, strength: float = 1.0,
) -> Pictures:  # fmt: skip
    """One picture a prompt: from noise, or from `images` at `strength`. Picture k is that of seed + k alone."""
    out = []
    for i in range(0, len(prompts), 20):
        part = prompts[i : i + 20]
        generator = [torch.Generator().manual_seed(seed + i + k) for k in range(len(part))]
        common = {"num_inference_steps": default.steps, "guidance_scale": default.cfg, "generator": generator}
        if images is None:
            made = pipeline(part, **common, output_type="np").images
        else:
            from_image = StableDiffusionImg2ImgPipeline(**pipeline.components, requires_safety_checker=False)
            from_image.set_progress_bar_config(disable=True)
            start = as_input(images[i : i + 20])
            made = from_image(part, image=start, strength=strength, **common, output_type="np").images
        out.append((made * 255 + 0.5).astype(np.uint8))
    return np.concatenate(out)


# --- the classifier ---


class Classifier(nn.Module):
    """(B, 3, 128, 128) in [-1, 1] -> logits of ground, sky and style side by side."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.AvgPool2d(2)]
        for before, after in zip((3, 32, 64, 96), (32, 64, 96, 128), strict=True):
            layers += [nn.Conv2d(before, after, 3, 2, 1), nn.BatchNorm2d(after), nn.GELU()]
        self.features = nn.Sequential(*layers, nn.Conv2d(128, 128, 3, 1, 1), nn.GELU(), nn.Flatten(), nn.Dropout(0.3))
        self.logits = nn.Linear(128 * 4 * 4, sum(map(len, HEADS.values())))

    def forward(self, x: Tensor) -> list[Tensor]:
        return list(torch.split(self.logits(self.features(x)), [len(names) for names in HEADS.values()], 1))


def targets(labels: list[scenes.Labels]) -> Tensor:
    """(N, 3) indices of ground, sky and style."""
    return torch.tensor([[names.index(getattr(one, head)) for head, names in HEADS.items()] for one in labels])


@torch.inference_mode()
def reconstruct(vae: AutoencoderKL, data: Pictures) -> Pictures:
    """There and back through the latents."""
    out = []
    for i in range(0, len(data), 32):
        y = vae.decode(vae.encode(as_input(data[i : i + 32])).latent_dist.mean).sample.clamp(-1, 1)
        out.append(((y + 1) * 127.5).round().byte().permute(0, 2, 3, 1).cpu().numpy())
    return np.concatenate(out)


def train_classifier(vae: AutoencoderKL, work: Path, epochs: int = 8) -> Classifier:
    """Learns from the drawn scenes, a quarter of them through the autoencoder too, so that blur does not fool it."""
    data, known = pictures(work, "scenes"), targets(shown(work, "scenes"))
    through = reconstruct(vae, data[::4])
    x_all, y_all = np.concatenate([data, through]), torch.cat([known, known[::4]])
    torch.manual_seed(0)
    net = Classifier().to(DEVICE)
    optimizer = torch.optim.AdamW(net.parameters(), 2e-3, weight_decay=0.02)
    count = epochs * (len(x_all) // 64)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, count)
    for _ in range(epochs):
        for which in torch.randperm(len(x_all)).split(64)[: len(x_all) // 64]:  # type: ignore[no-untyped-call]
            x = as_input(x_all[which.numpy()])
            x = torch.where(torch.rand(64, 1, 1, 1, device=DEVICE) < 0.5, x.flip(3), x)
            x = x * (0.85 + 0.3 * torch.rand(64, 1, 1, 1, device=DEVICE)) + 0.05 * torch.randn_like(x)
            y = y_all[which].to(DEVICE)
            losses = [F.cross_entropy(z, y[:, k], label_smoothing=0.05) for k, z in enumerate(net(x))]
            optimizer.zero_grad()
            torch.stack(losses).sum().backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
    return net.eval()


def classifier(vae: AutoencoderKL, work: Path) -> Classifier:
    path = work / "classifier.pt"
    if not path.exists():
        torch.save(train_classifier(vae, work).state_dict(), path)
    net = Classifier()
    net.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    return net.to(DEVICE).eval()


@torch.inference_mode()
def agreement(net: Classifier, made: Pictures, wanted: Tensor) -> list[float]:
    """The shares of pictures in which ground, sky, style and all three are found, in percent."""
    found = torch.cat(
        [torch.stack([z.argmax(1) for z in net(as_input(made[i : i + 100]))], 1) for i in range(0, len(made), 100)]
    )
    right = found.cpu() == wanted
    return [100 * float(v) for v in (*right.float().mean(0), right.all(1).float().mean())]


# --- the questions ---


def prompts_from(count: int) -> tuple[list[str], Tensor]:
    """Captions that leave nothing out, of scenes that nobody drew, and the ground, sky and style they ask for."""
    texts, wanted = [], []
    for k in range(count):
        rng = np.random.default_rng(EVALUATION_SEED + k)
        labels = scenes.choose(rng)
        texts.append(scenes.caption(labels, rng, omit=0.0))
        wanted.append(labels)
    return texts, targets(wanted)


def sketches(count: int) -> tuple[Pictures, list[str], Tensor]:
    """Pencil sketches by day, captions of the same scenes as impressionist sunsets, and what those ask for."""
    drawn, texts, wanted = [], [], []
    for k in range(count):
        rng = np.random.default_rng(EVALUATION_SEED - 1 - k)
        labels = scenes.choose(rng)
        things = tuple(t for t in labels.things if t not in ("sun", "moon"))
        drawn.append(np.asarray(scenes.draw(replace(labels, style="pencil", sky="day", things=things), rng)))
        asked = replace(labels, style="impressionist", sky="sunset", things=things)
        texts.append(scenes.caption(asked, rng, omit=0.0))
        wanted.append(asked)
    return np.stack(drawn), texts, targets(wanted)


def percent(values: list[float]) -> str:
    return " | ".join(f"{v:.0f} %" for v in values)


def evaluate(model: Path, work: Path, default: Default, count: int, sheet: Path | None) -> None:
    """Prints the figures as Markdown; draws the sheet: prompted pictures, then sketches walking to their prompts."""
    pipeline = load(model)
    unseen = np.asarray(pictures(work, "unseen"))
    truth = targets(shown(work, "unseen"))
    net = classifier(pipeline.vae, work)
    print(f"Reconstruction of {len(unseen)} unseen scenes: {psnr(pipeline.vae, unseen):.2f} dB.\n", flush=True)
    print(f"| classifier agrees ({default.steps} steps, cfg {default.cfg:g}) | ground | sky | style | all three |")
    print("|---|---|---|---|---|")
    print(f"| drawn scenes, unseen | {percent(agreement(net, unseen, truth))} |")
    print(
        f"| the same through the autoencoder | {percent(agreement(net, reconstruct(pipeline.vae, unseen), truth))} |",
        flush=True,
    )
    prompts, wanted = prompts_from(count)
    made = generate(pipeline, prompts, default, seed=0)
    print(f"| {count} generated pictures | {percent(agreement(net, made, wanted))} |\n", flush=True)

    drawn, asked, wanted = sketches(40)
    print("| sketch to impressionist sunset, strength | distance to the sketch | ground | sky | style | all three |")
    print("|---|---|---|---|---|---|")
    walks = [drawn]
    for strength in STRENGTHS:
        walks.append(generate(pipeline, asked, default, 1000, drawn, strength))
        apart = float(np.sqrt(np.mean((walks[-1].astype(np.float32) / 255 - drawn.astype(np.float32) / 255) ** 2)))
        print(f"| {strength:g} | {apart:.3f} | {percent(agreement(net, walks[-1], wanted))} |", flush=True)
    if sheet:
        rows = [list(made[8 * k : 8 * k + 8]) for k in range(6)]
        gap = np.full_like(drawn[0], 255)
        rows += [[*(step[k] for step in walks), gap, gap][:8] for k in range(4)]
        draw_sheet(rows, sheet)
        sheet.with_suffix(".txt").write_text("\n".join(prompts[:48] + asked[:4]) + "\n")


def draw_sheet(rows: list[list[Pictures]], path: Path) -> None:
    """Pictures in rows, two pixels apart."""
    side = scenes.SIZE + 2
    image = Image.new("RGB", (side * max(map(len, rows)), side * len(rows)), "white")
    for y, row in enumerate(rows):
        for x, picture in enumerate(row):
            image.paste(Image.fromarray(picture), (side * x, side * y))
    image.save(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--model", type=Path, required=True, metavar="FOLDER", help="a checkpoint in the diffusers layout"
    )
    parser.add_argument("--work", type=Path, required=True, metavar="DIR", help="where train.py drew the scenes")
    parser.add_argument("--steps", type=int, default=20, help="(default: %(default)s)")
    parser.add_argument("--cfg", type=float, default=5.0, help="(default: %(default)s)")
    parser.add_argument("--count", type=int, default=200, help="pictures to generate (default: %(default)s)")
    parser.add_argument("--sheet", type=Path, metavar="PNG", help="draw a sheet of pictures")
    args = parser.parse_args()
    evaluate(args.model, args.work, Default(args.steps, args.cfg), args.count, args.sheet)


if __name__ == "__main__":
    main()
