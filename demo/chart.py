"""Draws the README's chart of the samplers: `python demo/chart.py demo/samplers.png`, with matplotlib."""

import sys

import matplotlib.pyplot as plt

from stable_diffusion.bench.tables.samplers import samplers_error


def main(path: str, spacing: str = "karras") -> None:
    errors = samplers_error(spacing, points=1000)
    # Samplers that do the same share a line; the best stand at the foot of the legend, as their lines do.
    lines: dict[tuple[tuple[int, float], ...], list[str]] = {}
    for name, points in errors.items():
        lines.setdefault(tuple(points), []).append(name)
    figure, axes = plt.subplots(figsize=(10, 6.4), layout="constrained")
    for points, names in sorted(lines.items(), key=lambda line: -line[0][-1][1]):
        axes.loglog(*zip(*points, strict=True), marker="o", markersize=4, linewidth=1.6, label=", ".join(names))
    axes.set(xlabel="network calls", ylabel="root mean square error")
    axes.set_title(f"How far from the truth ({spacing} levels, a mixture of two Gaussians)", loc="left")
    ticks = [4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128]
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.minorticks_off()
    axes.grid(color="#dddddd")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    figure.savefig(path, dpi=100)


if __name__ == "__main__":
    main(*sys.argv[1:])
