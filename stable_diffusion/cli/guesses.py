"""What other tools call our options: a guess is answered with our name, or with a sentence that says it is not here."""

from collections.abc import Sequence

_NAMES: dict[str, tuple[str, ...]] = {
    "--cfg": ("cfg-scale", "guidance", "guidance-scale", "scale", "cfgscale"),
    "--sampler": ("sampler-name", "sampling-method", "sampling-method-name", "samplers"),
    "--sampler, and --spacing for the noise levels": ("scheduler", "schedule", "schedule-type"),
    "--n_images": ("batch", "batch-count", "n", "n-samples", "n-iter", "num-images", "count", "images"),
    "--steps": ("s", "num-steps", "ddim-steps", "num-inference-steps", "inference-steps", "sample-steps"),
    "--width": ("W", "w"),
    "--height": ("H",),
    "--strength": ("denoise", "denoising", "denoising-strength", "init-strength", "image-strength"),
    "--negative_prompt": ("negative", "neg", "uc", "negative-prompts"),
    "--model": ("ckpt", "checkpoint", "ckpt-name", "m", "model-path", "sd-model", "model-id"),
    "--model list": ("list-models", "models"),
    "--sampler list": ("list-samplers",),
    "-o FILE": ("output-dir", "outdir", "out", "output-path", "save-path"),
    "--mask": ("mask-image", "inpaint", "mask-path"),
    "--lora": ("loras", "lora-path", "lora-weights", "lora-paths"),
    "--embedding": ("textual-inversion", "embeddings", "ti"),
    "--tile": ("vae-tiling", "tiling", "vae-tile-size", "tiled-vae"),
    "--low-memory": ("medvram", "lowvram", "low-ram", "medvram-sdxl", "cpu-offload"),
    "--quantize": ("quant", "bits", "type", "quantization"),
    "--prompts FILE": ("from-file", "prompt-file", "prompts-file", "prompts-from-file"),
    "--from FILE": ("png-info", "config-from-metadata", "replay", "metadata"),
    "--clip-skip, which counts the layers that are left out (AUTOMATIC1111's 2 is 1 here)": ("clip", "clip-layers"),
    "--no-float16": ("no-half", "fp32", "full-precision", "precision"),
    "--vae": ("vae-path", "autoencoder"),
    "--plan": ("dry-run",),
    "--animate FILE": ("gif", "video", "film"),
    "--generate_triangle": ("triangle",),
    "--version": ("V",),
}  # fmt: skip
_ELSEWHERE = {
    "write the prompt without a flag, in quotes": ("prompt", "p", "positive", "positive-prompt"),
    "give the picture to image2image as its first word: image2image.py photo.jpg \"a prompt\"": (
        "init-img", "init-image", "image", "i", "img", "input", "init", "image-path", "init-image-path",
    ),
    "it is not here: larger pictures are not made in two passes yet": (
        "hires", "hires-fix", "hires-upscale", "upscale", "upscaler", "enable-hr", "hr-scale",
    ),
    "it is not here: ControlNet, T2I-Adapter and IP-Adapter are not built yet": (
        "controlnet", "control", "control-net", "control-image", "ip-adapter", "t2i-adapter",
    ),
    "it is not needed: MLX has its own attention": ("xformers", "opt-sdp-attention", "flash-attention"),
    "MLX takes the GPU where there is one": ("device", "gpu", "cuda", "mps", "cpu"),
}  # fmt: skip
_KNOWN = {guess: f"that is {ours} here" for ours, guesses in _NAMES.items() for guess in guesses} | {
    guess: sentence for sentence, guesses in _ELSEWHERE.items() for guess in guesses
}


def answer(word: str) -> str | None:
    """What to say to an option that does not exist, such as "--cfg-scale=7"; None where nothing is known.

    Returns the rest of a sentence.
    """
    name = word.lstrip("-").partition("=")[0].replace("_", "-")
    return _KNOWN.get(name, _KNOWN.get(name.lower()) if len(name) > 1 else None)


def unquoted(words: Sequence[str]) -> bool:
    """Are these the words of a prompt that a shell has taken apart?"""
    return bool(words) and not any(word.startswith("-") for word in words)
