"""What there is to choose from, as tables: `--model list`, `--sampler list`, `--spacing list`."""

from collections.abc import Sequence

from ..diffusion.samplers import SAMPLERS
from ..diffusion.spacing import FOR_ALL, SPACINGS
from ..presets import PRESETS
from ..weights.locate import size_of


def _table(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def models_table() -> str:
    """The models that have a name, and how large they are: on this disk, or to download."""
    rows = []
    for name, preset in PRESETS.items():
        there = size_of(name)
        size = f"{there / 1e9:.1f} GB here" if there else f"{preset.gigabytes:.1f} GB to download"
        rows.append((name, size if preset.repos or preset.unet else f"{there / 1e6:.0f} MB", preset.about))
    return _table([("model", "size", "what it is"), *rows])


def samplers_table() -> str:
    """What there is to know of each sampler before choosing one."""
    head = ("sampler", "order", "calls for n steps", "adds noise", "options", "paper")
    rows = [
        (name, str(m.order), m.calls, "yes" if m.noise else "no", ", ".join(sorted(m.options)), m.paper)
        for name, m in SAMPLERS.items()
    ]
    return _table([head, *rows]) + "\n\nOptions are written behind the name, as in unipc:order=3,variant=bh1."


def spacings_table() -> str:
    """What each spacing does, and its options."""
    rows = [(name, ", ".join(sorted(s.options.keys() - FOR_ALL)), s.about) for name, s in SPACINGS.items()]
    return _table([("spacing", "options", "levels"), *rows]) + "\n\nAll of them take sigma_min and discard=1 too."
