"""What a person is told before a job: what will be done, what may surprise them, and what does nothing."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from ..diffusion.noising import Inversion
from ..diffusion.samplers import sampler_named
from ..pipeline import Run
from ..presets import preset_of
from ..prompts.literal import literal
from .columns import columns_of
from .kinds import Children
from .layouts import Layout
from .lines import SUFFIXES
from .request import Request


def announcement(layout: Layout, tables: bool) -> Iterator[str]:
    """The plan in one line, or in one for each strength, place of a grid or line of a file; with tables, all levels."""
    alike = layout.kind in ("pictures", "children") and not layout.of_lines  # which differ in their noise alone
    said: dict[str, list[int]] = {}
    for which, run in enumerate([layout.runs[layout.only or 0]] if alike else layout.runs):
        line = _line(run, layout)
        said.setdefault(line if layout.of_lines else f"{which}{line}", []).append(which)
    for indices in said.values():
        run = layout.runs[indices[0] if not alike else layout.only or 0]
        line = _line(run, layout)
        yield line if alike else f"{_several([layout.headings[i] for i in indices])}: {line}"
        if tables and run.plan.steps_run:
            yield run.plan.table(run.hats)
    yield from same_runs(layout)


def summary(request: Request, layout: Layout) -> str:
    """What is about to be made, in a line for somebody who knows nothing of noise levels."""
    run = layout.runs[layout.only or 0]
    s, n = run.settings, len(layout.runs)
    words = [_steps(layout)] if any(one.plan.steps_run for one in layout.runs) else []
    if run.plan.image_weight is not None and layout.kind in ("pictures", "children") and not layout.of_lines:
        words.append(_kept(run))
    words.append(_seeds(layout))
    made = {
        "triangle": f"{n} strengths",
        "grid": f"a grid of {n} pictures",
        "children": "",  # they stand with the seed
        "pictures": f"{n} pictures" if n > 1 and layout.only is None else "",
    }[layout.kind]
    size = f"{s.width} x {s.height}"
    if layout.of_lines:
        made = f"{n} pictures of {len(request.lines)} lines"
    return f"{_short(request.model.name)}: {', '.join(filter(None, (made, size, *words)))}"


def _short(model: str) -> str:
    """The name of a model without the folders that it lies in."""
    return Path(model).name or model


def _steps(layout: Layout) -> str:
    counts = sorted({run.plan.steps_run for run in layout.runs})
    if len(counts) > 1:
        return f"{counts[0]} to {counts[-1]} steps"
    return f"{counts[0]} step" if counts[0] == 1 else f"{counts[0]} steps"


def _kept(run: Run) -> str:
    """How much of the picture stays."""
    if run.plan.steps_run == 0:
        return "your picture comes back as it is"
    if run.plan.image_weight == 0:
        return "from noise alone, without your picture"
    return f"strength {run.plan.strength:.2g} (about {run.plan.image_left:.0%} of your picture stays)"


def same_runs(layout: Layout) -> Iterator[str]:
    """Strengths that lead to one and the same run, where somebody might expect them to differ."""
    known: dict[tuple[float, ...], list[str]] = {}
    for which, run in enumerate(layout.runs):
        known.setdefault(run.plan.sigmas, []).append(layout.headings[which])
    first = layout.runs[layout.only or 0]
    if layout.kind in ("pictures", "children") and not layout.of_lines and first.plan.strengths:
        low, high = first.plan.strengths
        text = f"every strength from {low:.4g} to just below {high:.4g} gives this same run"
        yield f"note: with --strength-mode skip, {text}"
    if layout.kind == "triangle":
        for headings in known.values():
            if len(headings) > 1:
                values = " and ".join(heading.removeprefix("strength ") for heading in headings)
                yield f"note: the strengths {values} give the same run: --strength-mode level tells them apart"


def _several(headings: Sequence[str]) -> str:
    """The first few of some names."""
    return ", ".join(headings[:5]) + (f" and {len(headings) - 5} more" if len(headings) > 5 else "")


def cautions(request: Request, layout: Layout) -> Iterator[str]:
    """What a person may expect of a request, and will not get."""
    told = dict.fromkeys((s.prompt, s.negative_prompt, s.prompt_syntax) for s in (run.settings for run in layout.runs))
    prompts = dict.fromkeys(text for *texts, _ in told for text in texts)
    found = dict.fromkeys(
        word
        for *texts, syntax in told
        for text, negative in zip(texts, (False, True), strict=True)
        for word in literal(text, syntax, negative)
    )
    if found:
        words = ", ".join(list(found)[:3])
        yield f"note: {words} in the prompt is taken literally: it has no meaning of its own here{_syntax(told)}"
    for file in filter(_is_file, prompts):
        yield f"note: the prompt {file} is the name of a file: --prompts reads prompts from it"
    preset = preset_of(request.model.name)
    words = " ".join(prompts).lower()
    if preset is not None and preset.words and words.strip() and not any(word in words for word in preset.words):
        known = ", ".join(preset.words[:10])
        yield (
            f"note: the {request.model.name} model paints landscapes, and knows no word of this prompt: {known}, ...; "
            "--model names one that knows more"
        )
    yield from (f"note: {text}" for text in _unused(request, layout))
    if _is_set(layout, "deep_cache"):
        yield f"note: deep_cache {_values(layout, 'deep_cache')} is an approximation"
    if layout.kind == "triangle" and not request.view.show_denoising:
        every = columns_of([run.plan.steps_run for run in layout.runs], request.view).every
        if every > 1:
            yield f"note: the sheet shows every {ordinal(every)} step, and the end of each row; -sd 1 shows them all"
    first = layout.runs[0].settings
    quiet = not (sampler_named(first.sampler).noise and first.eta != 0) and not first.s_churn and not first.eta
    several = layout.kind == "pictures" and layout.only is None and len(layout.runs) > 1 and not layout.of_lines
    if several and first.start == "inversion" and quiet:
        yield (
            f"note: these {len(layout.runs)} pictures are one and the same: an inversion has no noise that a seed "
            "could change; --perturb makes variations"
        )


def _is_set(layout: Layout, name: str) -> bool:
    return any(run.settings.was_set(name) for run in layout.runs)


def _values(layout: Layout, name: str) -> str:
    """What a setting is in the runs where it was given a value."""
    return " and ".join(
        dict.fromkeys(f"{getattr(run.settings, name):g}" for run in layout.runs if run.settings.was_set(name))
    )


def _is_file(prompt: str) -> bool:
    """Is a prompt the name of a file of prompts, which somebody may have taken it for?"""
    try:
        return Path(prompt).suffix.lower() in SUFFIXES and Path(prompt).expanduser().is_file()
    except OSError:  # too long a name, say
        return False


def _syntax(told: Iterable[tuple[str, str, str]]) -> str:
    """What would give words their meaning, where all prompts are plain."""
    if any(syntax != "plain" for *_, syntax in told):
        return ""
    return " (--prompt-syntax a1111 or comfyui reads weights)"


def ordinal(n: int) -> str:
    """1st, 2nd, 3rd, 4th, ..."""
    ending = "th" if n % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(n % 10, "th")
    return f"{n}{ending}"


def _unused(request: Request, layout: Layout) -> Iterator[str]:
    """What was asked for, and does nothing in this job."""
    view, runs = request.view, [run.settings for run in layout.runs]
    if all(s.cfg in (0, 1) for s in runs):
        if any(s.negative_prompt for s in runs):
            yield f"without guidance (cfg {runs[0].cfg:g}) the negative prompt is not used"
        if request.settings.cfg_rescale:
            yield f"without guidance (cfg {runs[0].cfg:g}) there is no contrast for cfg_rescale to take back"
    if _is_set(layout, "deep_cache") and all(run.plan.steps_run <= 1 for run in layout.runs):
        yield "deep_cache does nothing in a run of one step"
    churned = [name for name in ("s_tmin", "s_tmax", "s_noise") if request.settings.was_set(name)]
    noisy = any(s.s_churn or s.eta or (sampler_named(s.sampler).noise and s.eta != 0) for s in runs)
    if churned and not noisy:
        yield f"{' and '.join(churned)} do nothing where no noise is added: s_churn and eta add some"
    used = request.model.loras and request.tool  # by name, as that tool's file has them
    if request.model.lora_dir and request.model.named_by is None and not (used or any(r.tagged for r in layout.runs)):
        yield "no prompt names a LoRA of --lora-dir: <lora:name:0.8> does, with --prompt-syntax a1111"
    if all(s.variation_seed is not None and not s.variation_strength for s in runs):
        yield "the variation seed does nothing with a variation strength of 0"
    if (request.settings.step_noise_source or request.settings.step_seed_delta) and not noisy and request.tool is None:
        yield "no noise is added on the way, which could have a source or a seed of its own"
    images = [run for run in layout.runs if run.inputs.image is not None and run.settings.image_weight]
    if request.settings.start_scale == "unit" and len(images) == len(layout.runs) and request.tool is None:
        yield "start_scale is for a start that is noise alone, and this one is a picture with noise on it"
    if request.settings.source_prompt and view.show_noising != "inversion" and all(s.start == "noise" for s in runs):
        yield "the source prompt is for an inversion, and there is none"
    shown = view.show_denoising or view.save_last_N or view.animate or view.html or view.latents
    shown = shown or layout.kind == "triangle"
    if not shown:
        if view.frames:
            yield "no steps are shown, in which frames could be clean or noisy"
        if view.preview and not view.show_noising:
            yield "no steps are shown, of which there could be previews"
    if layout.kind != "triangle" and (view.triangle_align or view.highlight is not None):
        yield "there is no triangle to align or to highlight a row of"
    if (layout.kind not in ("pictures", "children") or layout.sheet is None) and (view.n_rows or 1) > 1:
        yield "there is no sheet of pictures to lay out in rows"
    if view.sheet_size and layout.sheet is None and not view.show_denoising and not view.show_noising:
        yield "there is no sheet whose size could be limited"


def _seeds(layout: Layout, run: Run | None = None) -> str:
    """The seeds of the pictures, and their lineage; run: the one of several that is told of."""
    if layout.of_lines and run is None:
        every = {one.settings.seed for one in layout.runs}
        return f"seed {min(every)}" if len(every) == 1 else f"{len(every)} seeds"
    s, n = (run or layout.runs[layout.only or 0]).settings, len(layout.runs)
    if layout.kind == "children":
        s = layout.base
    together = layout.kind == "pictures" and layout.only is None and n > 1 and not layout.of_lines
    seeds = f"seeds {s.seed} to {s.seed + n - 1}" if together else f"seed {s.seed}"
    if s.perturb:
        seeds += " and " + ", ".join(f"{seed}:{amount:.4g}" for seed, amount, *_ in s.perturb)
    if isinstance(layout.view.kind, Children):
        amount, n = layout.view.kind.perturb, layout.view.n_images or 1
        seeds += f", {n} variations of {amount:.4g}" if n > 1 else f", a variation of {amount:.4g}"
    return seeds


def _line(run: Run, layout: Layout) -> str:
    s, seeds = run.settings, _seeds(layout, run)
    times = "1 network call" if run.calls == 1 else f"{run.calls} network calls"
    if s.start == "inversion":
        times += " and those of the inversion"
    levels = s.spacing if s.sigmas is None else "levels by hand"
    return f"{run.plan}; {s.sampler}, {levels}, {times}; {s.width} x {s.height}, {seeds}"


def exactness(inversion: Inversion) -> str:
    """How exact a way up is, in a line."""
    steps, worst = len(inversion.residuals), max(inversion.residuals, default=0.0)
    return f"inversion: {steps} steps up, each undone by the step down to within {worst:.1g} of the latents' size"
