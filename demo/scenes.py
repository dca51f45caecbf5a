"""Little landscapes: `scene(seed)` draws one, captions it and says what is in it.

A scene is painted like a stage set, far to near, on a `Canvas` twice as large as the picture. The canvas also remembers
outlines and the direction of brush strokes, so that the four styles are four ways to finish the same scene:
photo (smooth shading), impressionist (broad dabs), poster (few flat colours) and pencil (outlines and soft tone).
Nothing finer than about three pixels is drawn, since a latent that is eight times smaller could not carry it.

Coordinates are fractions of the picture, x to the right and y down; colours are linear mixes in [0, 1].
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

Array = NDArray[np.floating[Any]]
Colour = tuple[float, float, float]
Point = tuple[float, float]
Ridge = Callable[[Array], Array]  # the height y of a skyline at x

SIZE = 128
S = 2 * SIZE  # the side of the canvas: everything is drawn twice as large, then reduced

GROUNDS = ("hills", "mountains", "sea", "desert", "meadow")
SKIES = ("day", "sunset", "night", "storm", "fog")
STYLES = ("photo", "impressionist", "poster", "pencil")
SEASONS = ("spring", "summer", "autumn", "winter")
THINGS = ("tree", "house", "boat", "river", "sun", "moon", "fence", "campfire")

Y, X = (a.astype(np.float32) for a in np.mgrid[0.5 / S : 1 : 1 / S, 0.5 / S : 1 : 1 / S])
ROW: Array = X[0]


@dataclass(frozen=True)
class Labels:
    """What a scene shows; `season` is None where it cannot be seen (a desert)."""

    ground: str
    sky: str
    style: str
    season: str | None
    things: tuple[str, ...]


@dataclass(frozen=True)
class Weather:
    """The colours of a sky from zenith to horizon, of the light that falls, and of the haze far away."""

    stops: tuple[Colour, Colour, Colour]
    light: Colour
    haze: Colour
    thickness: float


WEATHER: dict[str, tuple[Weather, ...]] = {
    "day": (
        Weather(
            ((0.25, 0.52, 0.82), (0.50, 0.74, 0.92), (0.86, 0.93, 0.95)), (1.0, 0.98, 0.93), (0.78, 0.88, 0.95), 0.55
        ),
        Weather(
            ((0.36, 0.66, 0.84), (0.62, 0.83, 0.90), (0.96, 0.94, 0.86)), (1.03, 0.99, 0.90), (0.85, 0.91, 0.91), 0.55
        ),
    ),
    "sunset": (
        Weather(
            ((0.28, 0.27, 0.52), (0.87, 0.43, 0.42), (1.00, 0.78, 0.43)), (0.88, 0.62, 0.50), (0.93, 0.57, 0.42), 0.60
        ),
        Weather(
            ((0.42, 0.25, 0.48), (0.93, 0.48, 0.34), (1.00, 0.84, 0.52)), (0.90, 0.60, 0.45), (0.96, 0.60, 0.40), 0.60
        ),
        Weather(
            ((0.50, 0.42, 0.62), (0.95, 0.60, 0.55), (1.00, 0.82, 0.62)), (0.92, 0.68, 0.58), (0.94, 0.66, 0.60), 0.60
        ),
    ),
    "night": (
        Weather(
            ((0.04, 0.06, 0.17), (0.09, 0.13, 0.31), (0.20, 0.28, 0.46)), (0.26, 0.33, 0.52), (0.14, 0.20, 0.38), 0.60
        ),
        Weather(
            ((0.06, 0.05, 0.19), (0.14, 0.12, 0.34), (0.28, 0.25, 0.46)), (0.29, 0.31, 0.50), (0.20, 0.18, 0.40), 0.60
        ),
    ),
    "storm": (
        Weather(
            ((0.20, 0.23, 0.29), (0.34, 0.38, 0.43), (0.60, 0.63, 0.62)), (0.54, 0.58, 0.60), (0.45, 0.50, 0.54), 0.60
        ),
        Weather(
            ((0.17, 0.18, 0.25), (0.33, 0.33, 0.41), (0.62, 0.60, 0.55)), (0.55, 0.56, 0.58), (0.46, 0.47, 0.52), 0.60
        ),
    ),
    "fog": (
        Weather(
            ((0.74, 0.78, 0.80), (0.82, 0.85, 0.86), (0.89, 0.90, 0.89)), (0.78, 0.81, 0.81), (0.86, 0.88, 0.88), 1.00
        ),
        Weather(
            ((0.80, 0.78, 0.75), (0.87, 0.85, 0.81), (0.93, 0.90, 0.85)), (0.82, 0.80, 0.77), (0.90, 0.88, 0.84), 1.00
        ),
    ),
}
GRASS: dict[str, Colour] = {
    "spring": (0.55, 0.74, 0.36),
    "summer": (0.36, 0.60, 0.29),
    "autumn": (0.76, 0.56, 0.27),
    "winter": (0.93, 0.95, 0.99),
}
LEAVES: dict[str, tuple[Colour, ...]] = {
    "spring": ((0.95, 0.68, 0.77), (0.97, 0.82, 0.86), (0.93, 0.60, 0.72)),
    "summer": ((0.22, 0.48, 0.22), (0.30, 0.53, 0.22), (0.18, 0.42, 0.27)),
    "autumn": ((0.87, 0.45, 0.15), (0.78, 0.27, 0.15), (0.93, 0.64, 0.20)),
    "winter": ((0.90, 0.93, 0.98),),
}
FLOWERS: dict[str, tuple[Colour, ...]] = {
    "spring": ((0.98, 0.86, 0.35), (0.97, 0.97, 0.95), (0.95, 0.62, 0.75)),
    "summer": ((0.88, 0.22, 0.18), (0.62, 0.45, 0.80), (0.98, 0.80, 0.28)),
    "autumn": ((0.62, 0.35, 0.18), (0.88, 0.72, 0.40)),
    "winter": ((0.70, 0.66, 0.60),),
}
SAND: Colour = (0.92, 0.74, 0.48)
BEACH: Colour = (0.93, 0.85, 0.68)
BARK: Colour = (0.36, 0.26, 0.20)
SNOW: Colour = (0.95, 0.97, 1.0)


def rgb(colour: Colour) -> Array:
    return np.asarray(colour, np.float32)


def scaled(colour: Colour, factor: float, offset: float = 0.0) -> Colour:
    r, g, b = (min(1.0, factor * v + offset) for v in colour)
    return r, g, b


def smoothstep(a: float, b: float, x: Array) -> Array:
    t = np.clip((x - a) / (b - a), 0, 1)
    return (t * t * (3 - 2 * t)).astype(np.float32)


def blur(a: Array, radius: float) -> Array:
    """(S, S) in [-1, 1], softened by a Gaussian of `radius` canvas pixels; Pillow blurs bytes only."""
    image = Image.fromarray(((np.clip(a, -1, 1) + 1) * 127 + 0.5).astype(np.uint8))
    return np.asarray(image.filter(ImageFilter.GaussianBlur(radius)), np.float32) / 127 - 1


def clouds(rng: np.random.Generator, across: int, down: int) -> Array:
    """(S, S) smooth noise in about [-1, 1] with `across` x `down` features."""
    grid = rng.uniform(-1, 1, (down + 1, across + 1)).astype(np.float32)
    return np.asarray(Image.fromarray(grid).resize((S, S), Image.Resampling.BICUBIC), np.float32)


def polygon(points: Sequence[Point]) -> Array:
    """(S, S) coverage of a polygon."""
    image = Image.new("L", (S, S))
    ImageDraw.Draw(image).polygon([(x * S, y * S) for x, y in points], fill=255)
    return np.asarray(image, np.float32) / 255


def blobs(circles: Sequence[tuple[float, float, float]]) -> Array:
    """(S, S) coverage of the union of circles (x, y, radius)."""
    image = Image.new("L", (S, S))
    draw = ImageDraw.Draw(image)
    for x, y, r in circles:
        draw.ellipse(((x - r) * S, (y - r) * S, (x + r) * S, (y + r) * S), fill=255)
    return np.asarray(image, np.float32) / 255


def strokes(lines: Sequence[tuple[Point, Point, float]]) -> Array:
    """(S, S) coverage of straight strokes (from, to, width)."""
    image = Image.new("L", (S, S))
    draw = ImageDraw.Draw(image)
    for (x0, y0), (x1, y1), width in lines:
        w = max(2.0, width * S)
        draw.line((x0 * S, y0 * S, x1 * S, y1 * S), fill=255, width=round(w))
        draw.ellipse((x1 * S - w / 2, y1 * S - w / 2, x1 * S + w / 2, y1 * S + w / 2), fill=255)
    return np.asarray(image, np.float32) / 255


def standing(x: float, y: float, size: float, side: float = 1.0) -> Callable[[Sequence[Point]], Array]:
    """`polygon` in units of a thing's size from its foot at (x, y), mirrored where `side` is -1."""
    return lambda points: polygon([(x + side * size * u, y + size * v) for u, v in points])


def below(ridge: Ridge) -> Array:
    """(S, S) coverage of all that lies under a skyline, with an edge one picture pixel soft."""
    return np.clip((Y - ridge(ROW)[None]) * S / 2 + 0.5, 0, 1)


def rolling(rng: np.random.Generator, base: float, height: float, waves: float = 1.5) -> Ridge:
    """A soft skyline of three sines around `base`."""
    phase, tilt = rng.uniform(0, 2 * math.pi, 3), rng.uniform(-0.5, 0.5)
    scale = rng.uniform(0.8, 1.25)

    def ridge(x: Array) -> Array:
        y = sum(np.sin(2 * math.pi * waves * scale * f * x + p) / f for f, p in zip((1, 1.7, 2.9), phase, strict=True))
        return np.asarray(base + height * (0.5 * y + tilt * (x - 0.5)), np.float32)

    return ridge


def jagged(rng: np.random.Generator, base: float, height: float, peaks: int) -> Ridge:
    """A skyline of straight-flanked peaks."""
    at = (np.arange(2 * peaks + 3) - 1 + rng.uniform(-0.25, 0.25, 2 * peaks + 3)) / (2 * peaks)
    up = np.where(np.arange(len(at)) % 2, rng.uniform(0.55, 1, len(at)), rng.uniform(0, 0.3, len(at)))
    return lambda x: np.interp(x, at, base - height * up).astype(np.float32)


@dataclass
class Canvas:
    """A picture being painted far to near, with what the styles need to know besides its colours."""

    weather: Weather
    style: str
    to_light: float  # -1: the light comes from the left, 1: from the right
    rgb: Array = field(default_factory=lambda: np.zeros((S, S, 3), np.float32))
    ink: Array = field(default_factory=lambda: np.zeros((S, S), np.float32))
    angle: Array = field(default_factory=lambda: np.zeros((S, S), np.float32))

    def tones(self, a: Array, levels: int) -> Array:
        """`a` itself, or in a poster `a` rounded to a few levels of [-1, 1]."""
        if self.style != "poster":
            return a
        return (np.round((np.clip(a, -1, 1) + 1) / 2 * (levels - 1)) / (levels - 1) * 2 - 1).astype(np.float32)

    def lay(self, mask: Array, colour: Array, angle: float = 0.0, ink: float = 1.0) -> None:
        """Cover `mask` (S, S) with `colour` (3,) or (S, S, 3), its outline drawn with `ink`, strokes along `angle`."""
        self.rgb += mask[..., None] * (colour - self.rgb)
        if self.style == "impressionist":
            self.angle += mask * (angle - self.angle)
        if self.style == "pencil":
            soft = np.clip(blur(mask, 1.6), 0, 1)
            self.ink = np.maximum(self.ink * (1 - 0.92 * mask), ink * np.clip(4.4 * soft * (1 - soft) - 0.1, 0, 1))

    def paint(
        self,
        mask: Array,
        colour: Colour,
        shade: Array | float = 0.0,
        depth: float = 0.0,
        angle: float = 0.0,
        ink: float = 1.0,
    ) -> None:
        """`lay` a surface lit by the weather: `shade` in [-1, 1] darkens or lightens, `depth` in [0, 1] hazes."""
        shade = self.tones(np.asarray(shade, np.float32), 3)
        lit = rgb(colour) * rgb(self.weather.light) * (1 + 0.32 * shade[..., None])
        far = min(0.93, depth * self.weather.thickness * 1.25)
        self.lay(mask, lit + far * (rgb(self.weather.haze) - lit), angle, ink * (1 - 0.6 * far))

    def glow(self, x: float, y: float, radius: float, colour: Colour, strength: float) -> None:
        """Light that spreads around a point; rings of it in a poster."""
        r = np.hypot(X - x, Y - y) / radius
        halo = np.exp(-2.2 * r * r)
        if self.style == "poster":
            halo = np.round(halo * 3) / 3
        self.rgb += (strength * halo)[..., None] * (rgb(colour) - self.rgb) * (rgb(colour) > self.rgb)

    def finish(self, rng: np.random.Generator) -> Image.Image:
        """The picture in its style, at its size."""
        done = {"pencil": pencil, "impressionist": impressionist}.get(self.style)
        colours = done(self, rng) if done else self.rgb
        image = Image.fromarray((np.clip(colours, 0, 1) * 255 + 0.5).astype(np.uint8))
        return image.resize((SIZE, SIZE), Image.Resampling.BOX)


def pencil(canvas: Canvas, rng: np.random.Generator) -> Array:
    """Outlines and a soft graphite tone on paper, laid in broad slanting strokes and fading at the margin."""
    tone = blur(np.asarray(canvas.rgb @ np.asarray((0.30, 0.59, 0.11), np.float32), np.float32), 2.0)
    dark = np.clip(0.86 - tone, 0, 1) ** 1.1
    slant = np.sin(2 * math.pi * (11 * (X + 0.8 * Y) + 0.9 * clouds(rng, 5, 5))) * (0.5 + 0.5 * clouds(rng, 4, 4))
    dark = dark * (0.70 + 0.08 * slant)
    line = np.clip(canvas.ink, 0, 1) * (0.74 + 0.12 * clouds(rng, 9, 9))
    edge = np.minimum(np.minimum(X, 1 - X), np.minimum(Y, 1 - Y)) + 0.025 * clouds(rng, 8, 8)
    marks = np.maximum(dark, line) * smoothstep(0.0, 0.10, edge)
    paper = rgb((0.965, 0.95, 0.915)) * (1 + 0.012 * clouds(rng, 12, 12)[..., None])
    return paper + np.clip(marks, 0, 0.88)[..., None] * (rgb((0.17, 0.17, 0.19)) - paper)


def impressionist(canvas: Canvas, rng: np.random.Generator) -> Array:
    """Broad dabs along the layers' strokes: an underpainting of large ones, then smaller ones where there is detail."""
    soft = np.stack([blur(canvas.rgb[..., c], 1.5) for c in range(3)], -1)
    grey = soft.mean(-1)
    detail = blur(np.abs(grey - blur(grey, 8)), 4)
    image = Image.fromarray((np.clip(soft, 0, 1) * 255).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    turn = np.linspace(0, 2 * math.pi, 10, endpoint=False)
    for step, length, width, jitter, least in ((11, 15.0, 6.5, 0.05, -1.0), (7, 8.5, 4.2, 0.03, 0.02)):
        rows, columns = (a.ravel() for a in np.mgrid[0:S:step, 0:S:step])
        order = rng.permutation(len(rows))
        rows, columns = (np.clip(a[order] + rng.integers(-4, 5, len(a)), 0, S - 1) for a in (rows, columns))
        keep = detail[rows, columns] > least
        rows, columns = rows[keep], columns[keep]
        tilt = canvas.angle[rows, columns] + rng.normal(0, 0.22, len(rows))
        light = 1 + rng.normal(0, jitter, (len(rows), 1)) + rng.normal(0, jitter / 3, (len(rows), 3))
        colours = (np.clip(soft[rows, columns] * light, 0, 1) * 255).astype(int)
        along, across = length * np.cos(turn), width * np.sin(turn)
        xs = columns[:, None] + np.cos(tilt)[:, None] * along - np.sin(tilt)[:, None] * across
        ys = rows[:, None] + np.sin(tilt)[:, None] * along + np.cos(tilt)[:, None] * across
        for dab, colour in zip(np.stack([xs, ys], -1), colours.tolist(), strict=True):
            draw.polygon(dab.ravel().tolist(), fill=tuple(colour))
    return np.asarray(image, np.float32) / 255


# --- sky ---


def paint_sky(c: Canvas, rng: np.random.Generator, labels: Labels, horizon: float, sun: Point) -> None:
    """The sky from zenith to horizon with its lights and clouds; `sun` is where the sun or the moon stands."""
    top, middle, low = (rgb(s) for s in c.weather.stops)
    t = np.clip(Y / (horizon + 0.06), 0, 1)
    if labels.sky == "sunset":
        t = np.clip(t - 0.30 * np.hypot(X - sun[0], 0.8 * (Y - sun[1])) + 0.12, 0, 1)
    t = (c.tones(2 * t - 1, 6) + 1)[..., None] / 2
    c.rgb[:] = np.where(t < 0.55, top + (middle - top) * t / 0.55, middle + (low - middle) * (t - 0.55) / 0.45)
    c.angle[:] = 0.10 * clouds(rng, 3, 3)
    {"storm": storm, "night": stars, "fog": lambda *_: None}.get(labels.sky, fair)(c, rng, labels, horizon)
    if "sun" in labels.things:
        paint_sun(c, labels.sky, sun, float(rng.uniform(0.055, 0.085)))
    if "moon" in labels.things:
        paint_moon(c, sun, float(rng.uniform(0.05, 0.075)), crescent=bool(rng.random() < 0.45))


def fair(c: Canvas, rng: np.random.Generator, labels: Labels, horizon: float) -> None:
    """A few heaps of cloud, or bars of it at sunset."""
    sunset = labels.sky == "sunset"
    white = (0.95, 0.52, 0.45) if sunset else (0.99, 0.99, 0.98)
    for _ in range(rng.integers(1, 4)):
        x, y, w = rng.uniform(0.05, 0.95), rng.uniform(0.10, 0.75 * horizon), rng.uniform(0.12, 0.24)
        if sunset:
            bars = [((x - w, y), (x + w, y), 0.030), ((x - 0.4 * w, y + 0.035), (x + 1.3 * w, y + 0.035), 0.024)]
            mask = strokes(bars)
        else:
            puffs = [
                (x + w * u, y - 0.38 * w * (1 - u * u) * rng.uniform(0, 1.2), 0.38 * w * rng.uniform(0.75, 1.15))
                for u in np.linspace(-1, 1, 6)
            ]
            mask = blobs(puffs) * np.clip((y + 0.19 * w - Y) * S / 3 + 0.5, 0, 1)
        if c.style not in ("poster", "pencil"):
            mask = np.clip(blur(mask, 3.0), 0, 1)
        under = c.tones(smoothstep(y - 0.4 * w, y + 0.4 * w, Y), 2)[..., None]
        c.lay(0.85 * mask, rgb(white) * (1 - 0.12 * under), ink=0.5)


def storm(c: Canvas, rng: np.random.Generator, labels: Labels, horizon: float) -> None:
    """Heavy banks of cloud and mostly a bolt of lightning."""
    for k in range(3):
        y = horizon * (0.62 - 0.24 * k)
        bank = [(x, y - rng.uniform(0.0, 0.07), rng.uniform(0.07, 0.13)) for x in np.arange(-0.05, 1.1, 0.12)]
        mask = np.maximum(blobs(bank), (y - 0.06 > Y).astype(np.float32))
        dark = rgb(c.weather.stops[0]) * (1.35 - 0.30 * k)
        c.lay(0.85 * (mask if c.style == "poster" else np.clip(blur(mask, 4.0), 0, 1)), dark, ink=0.45)
    if rng.random() < 0.75:
        x, y = rng.uniform(0.15, 0.85), horizon * 0.30
        bolt = [(x, y)]
        while y < horizon - 0.03:
            x, y = min(0.95, max(0.05, x + rng.uniform(-0.075, 0.075))), y + rng.uniform(0.05, 0.09)
            bolt.append((x, y))
        if c.style != "poster":
            c.glow(bolt[-2][0], 0.65 * horizon, 0.22, (0.80, 0.82, 0.92), 0.5)
        mask = strokes([(a, b, 0.018) for a, b in pairwise(bolt)])
        c.lay(mask, rgb((1.0, 0.98, 0.88)), angle=1.4, ink=0.2)


def stars(c: Canvas, rng: np.random.Generator, labels: Labels, horizon: float) -> None:
    """Few and large, so that they survive the latents."""
    dots = [(rng.uniform(0.03, 0.97), rng.uniform(0.03, 0.80 * horizon), rng.uniform(0.007, 0.012)) for _ in range(14)]
    c.lay(0.9 * blobs(dots), rgb((0.93, 0.94, 0.86)), ink=0.0)


def paint_sun(c: Canvas, sky: str, at: Point, radius: float) -> None:
    colour = {"sunset": (1.0, 0.90, 0.58), "fog": (1.0, 0.98, 0.92)}.get(sky, (1.0, 0.97, 0.78))
    warm = (1.0, 0.80, 0.45) if sky == "sunset" else (1.0, 0.98, 0.85)
    c.glow(*at, 0.36, warm, 0.75 if sky != "fog" else 0.35)
    if sky == "sunset" and c.style == "pencil":  # what colour says elsewhere
        rays = []
        for k, turn in enumerate(np.linspace(0, 2 * math.pi, 13, endpoint=False)):
            u, v = radius * math.cos(turn), radius * math.sin(turn)
            far = (2.3, 3.2)[k % 2]
            rays.append(((at[0] + 1.6 * u, at[1] + 1.6 * v), (at[0] + far * u, at[1] + far * v), 0.016))
        c.lay(strokes(rays), rgb((0.42, 0.42, 0.42)), ink=0.2)
    c.lay(blobs([(*at, radius)]), rgb(colour), ink=0.8)


def paint_moon(c: Canvas, at: Point, radius: float, crescent: bool) -> None:
    c.glow(*at, 0.26, (0.55, 0.62, 0.80), 0.65)
    mask = blobs([(*at, radius)])
    if crescent:
        radius *= 1.15
        mask = blobs([(*at, radius)]) * (1 - blobs([(at[0] + 0.42 * radius, at[1] - 0.18 * radius, 0.85 * radius)]))
    c.lay(mask, rgb((0.97, 0.95, 0.84)), ink=0.5)


def mist(c: Canvas, rng: np.random.Generator, y: float) -> None:
    """A bank of fog lying across the picture at height y."""
    bank = np.exp(-(((Y - y - 0.03 * clouds(rng, 3, 2)) / 0.075) ** 2))
    c.lay((0.72 * (c.tones(2 * bank - 1, 3) + 1) / 2).astype(np.float32), rgb(c.weather.haze), ink=0.0)


# --- ground ---


def slope(c: Canvas, ridge: Ridge, strength: float) -> Array:
    """(S, S) light on the flanks of a skyline: brighter towards the light, fading downwards; none in a poster."""
    if c.style == "poster":
        return np.zeros((S, S), np.float32)
    facing = -c.to_light * np.gradient(ridge(ROW)) * S * strength
    fade = np.exp(-3.5 * np.clip(Y - ridge(ROW)[None], 0, 1))
    return np.clip(-facing[None] * fade + 0.35 * fade - 0.25, -1, 1).astype(np.float32)


def paint_hills(c: Canvas, rng: np.random.Generator, season: str, horizon: float) -> Ridge:
    """Four rolling ridges, paler the farther away."""
    ridge = rolling(rng, horizon, 0.08)
    green = rgb(GRASS[season])
    for k, depth in enumerate((0.75, 0.45, 0.22, 0.0)):
        ridge = rolling(rng, horizon - 0.07 + 0.115 * k, 0.085 + 0.01 * k, 1.25)
        tint = green * rng.uniform(*((0.96, 1.02) if season == "winter" else (0.86, 1.06)), 3).astype(np.float32)
        colour = (float(tint[0]), float(tint[1]), float(tint[2]))
        c.paint(below(ridge), colour, slope(c, ridge, 1.1), depth, angle=0.35 * (-1) ** k)
    return ridge


def paint_mountains(c: Canvas, rng: np.random.Generator, season: str, horizon: float) -> Ridge:
    """Two chains of rock with a lit and a dark face, capped with snow, and a hill in front."""
    rock = ((0.46, 0.47, 0.56), (0.50, 0.45, 0.48), (0.40, 0.46, 0.54))[rng.integers(3)]
    for depth, height, peaks in ((0.62, 0.34, 3), (0.25, 0.28, 2)):
        base = horizon + (0.02 if depth > 0.5 else 0.10)
        ridge = jagged(rng, base, height + rng.uniform(0, 0.05), peaks)
        skyline = ridge(ROW)
        side = np.where(np.gradient(skyline) * c.to_light > 0, 0.65, -0.75).astype(np.float32)
        crook = 0.05 * clouds(rng, 9, 7)
        meander = X + crook * smoothstep(0.0, 0.15, Y - skyline[None])
        face = blur(side[np.clip((meander * S).astype(int), 0, S - 1)], 1.5)
        mask = below(ridge)
        c.paint(mask, rock, face, depth, angle=1.0 * c.to_light)
        line = 0.10 if season != "winter" else 0.20
        cap = mask * np.clip((base - height + line + crook * 1.5 - Y) * S / 3 + 0.5, 0, 1)
        c.paint(cap, SNOW, 0.75 * face, 0.8 * depth, angle=1.0 * c.to_light, ink=0.4)
    front = rolling(rng, horizon + 0.17, 0.07, 1.0)
    c.paint(below(front), GRASS[season], slope(c, front, 0.9), 0.0, angle=0.25)
    return front


def paint_desert(c: Canvas, rng: np.random.Generator, season: str, horizon: float) -> Ridge:
    """Three dunes, each with its lee side in shadow."""
    ridge = rolling(rng, horizon, 0.05)
    for k, depth in enumerate((0.62, 0.30, 0.0)):
        ridge = rolling(rng, horizon + 0.01 + 0.13 * k, 0.075 + 0.012 * k, 0.85)
        mask = below(ridge)
        c.paint(mask, SAND, slope(c, ridge, 0.6), depth, angle=0.25)
        foot = rng.uniform(0.1, 0.9)
        crest = ridge(ROW) + 0.35 * np.abs(ROW - foot) ** 1.3 * np.where((ROW - foot) * c.to_light < 0, 1.0, 9.0)
        lee = mask * np.clip((Y - crest[None]) * S / 3 + 0.5, 0, 1) * np.clip((foot - ROW) * c.to_light * 8 + 0.5, 0, 1)
        c.paint(0.55 * lee, (0.74, 0.50, 0.34), 0.0, depth, angle=0.5, ink=0.4)
    return ridge


def paint_meadow(c: Canvas, rng: np.random.Generator, season: str, horizon: float) -> Ridge:
    """A line of far trees and flat grass with flowers that grow towards the viewer."""
    trees = rolling(rng, horizon - 0.02, 0.03, 4.0)
    c.paint(below(trees), scaled(GRASS[season], 0.72), 0.2, 0.65, angle=1.3)
    flat = rolling(rng, horizon + 0.03, 0.008, 0.7)
    c.paint(below(flat), GRASS[season], 0.9 - 2.4 * (Y - horizon), 0.0, angle=0.05)
    kinds = FLOWERS[season]
    for kind in kinds:
        dots = []
        for _ in range(60 // len(kinds)):
            y = horizon + 0.07 + (0.95 - horizon) * rng.random() ** 0.7
            dots.append((rng.random(), y, 0.004 + 0.024 * (y - horizon)))
        c.paint(blobs(dots), kind, 0.25, 0.0, angle=0.3, ink=0.55)
    return rolling(rng, horizon + 0.20, 0.01, 0.7)


def reflect(c: Canvas, mask: Array, at: Array, tint: Colour, rng: np.random.Generator) -> None:
    """Cover `mask` with what stands above the waterline `at` (S,), upside down, tinted and rippled."""
    sway = 0.012 * clouds(rng, 2, 14)
    rows = np.clip(((2 * at[None] - Y + sway) * S).astype(int), 0, S - 1)
    columns = np.broadcast_to(np.arange(S)[None], (S, S))
    mirrored = c.rgb[rows, columns]
    water = rgb(tint) * rgb(c.weather.light)
    deep = np.clip(0.35 + 1.1 * (Y - at[None]), 0.35, 0.75)[..., None]
    wave = c.tones(clouds(rng, 3, 18) * smoothstep(0.0, 0.12, Y - at[None]), 3)[..., None]
    c.lay(mask, (mirrored + deep * (water - mirrored)) * (1 + 0.10 * wave), angle=0.0, ink=0.6)


def paint_sea(c: Canvas, rng: np.random.Generator, season: str, horizon: float) -> Ridge:
    """Water to the horizon, sometimes an island, and a strip of beach in front to stand on."""
    if rng.random() < 0.5:
        x, w = rng.uniform(0.15, 0.85), rng.uniform(0.10, 0.22)
        isle = blobs([(x + w * u, horizon + 0.02, w * 0.30 * (1.1 - abs(u))) for u in np.linspace(-0.8, 0.8, 5)])
        c.paint(isle, (0.42, 0.50, 0.45), 0.0, 0.6, angle=0.4)
    tint = ((0.16, 0.42, 0.58), (0.18, 0.50, 0.58), (0.22, 0.38, 0.55))[rng.integers(3)]
    level = np.full(S, horizon, np.float32)
    reflect(c, np.clip((Y - horizon) * S / 2 + 0.5, 0, 1), level, tint, rng)
    side = rng.choice([-1.0, 1.0])
    base, tilt = rng.uniform(0.80, 0.86), rng.uniform(0.10, 0.25) * side

    def beach(x: Array) -> Array:
        return np.asarray(base + tilt * (x - 0.5) + 0.02 * np.sin(7 * x + 3 * base), np.float32)

    foam = below(lambda x: beach(x) - 0.018)
    c.paint(foam, (0.95, 0.98, 1.0), 0.0, 0.0, ink=0.3)
    c.paint(below(beach), SNOW if season == "winter" else BEACH, 0.5 - 2.5 * (Y - base), 0.0, angle=0.15 * side)
    return beach


# --- things ---


def paint_river(c: Canvas, rng: np.random.Generator, front: Ridge) -> tuple[float, float]:
    """A river from the front skyline to the viewer's feet; a point on it to float on."""
    x0, bend = rng.uniform(0.35, 0.65), rng.choice([-1.0, 1.0]) * rng.uniform(0.10, 0.2)
    top = float(front(np.asarray([x0], np.float32))[0])
    t = np.clip((Y - top) / (1 - top), 0, 1)
    middle = x0 + bend * np.sin(1.15 * math.pi * t) * (0.35 + 0.65 * t)
    width = 0.018 + 0.20 * t**1.25
    mask = np.clip((width - np.abs(X - middle)) * S / 3 + 0.5, 0, 1) * np.clip((Y - top) * S / 2 + 0.5, 0, 1)
    bank = np.clip((width + 0.012 + 0.01 * t - np.abs(X - middle)) * S / 3, 0, 1) * (top < Y)
    c.paint(bank, (0.55, 0.45, 0.33), -0.3, ink=0.7)
    zenith, _, low = (rgb(s) for s in c.weather.stops)
    shine = low + 0.62 * (zenith - low) * t[..., None]
    wave = c.tones(clouds(rng, 3, 22), 3)[..., None]
    water = 0.72 * shine + 0.28 * rgb((0.20, 0.50, 0.66)) * rgb(c.weather.light)
    c.lay(mask.astype(np.float32), water * (1 + 0.09 * wave), angle=0.0, ink=0.9)
    at = 0.45
    return x0 + bend * math.sin(1.15 * math.pi * at) * (0.35 + 0.65 * at), top + at * (1 - top)


def paint_boat(c: Canvas, rng: np.random.Generator, x: float, y: float, size: float) -> None:
    side = rng.choice([-1.0, 1.0])
    hull = ((0.62, 0.22, 0.18), (0.30, 0.22, 0.17), (0.20, 0.33, 0.52))[rng.integers(3)]
    sail = ((0.97, 0.95, 0.90), (0.93, 0.80, 0.62), (0.85, 0.36, 0.26))[rng.integers(3)]

    shape = standing(x, y, size, side)
    reflection = blur(shape([(-0.42, 0.0), (0.42, 0.0), (0.3, 0.22), (-0.3, 0.22)]), 3.0) * 0.45
    c.paint(reflection, (0.10, 0.15, 0.22), ink=0.0)
    mast = x + 0.02 * side * size
    c.paint(strokes([((mast, y), (mast, y - 0.92 * size), 0.10 * size)]), BARK, 0.0, angle=1.5)
    c.paint(shape([(0.06, -0.90), (0.44, -0.12), (0.06, -0.12)]), sail, 0.5, angle=1.2)
    c.paint(shape([(-0.03, -0.80), (-0.03, -0.12), (-0.34, -0.12)]), sail, -0.3, angle=-1.2)
    c.paint(shape([(-0.5, -0.06), (0.54, -0.08), (0.34, 0.13), (-0.34, 0.13)]), hull, 0.0, angle=0.0)


def paint_house(c: Canvas, rng: np.random.Generator, x: float, y: float, size: float, season: str, lit: bool) -> None:
    side = -c.to_light
    wall = ((0.93, 0.89, 0.80), (0.86, 0.72, 0.55), (0.80, 0.84, 0.86), (0.78, 0.45, 0.35))[rng.integers(4)]
    roof = SNOW if season == "winter" else ((0.66, 0.28, 0.20), (0.40, 0.34, 0.36), (0.52, 0.33, 0.22))[rng.integers(3)]
    shape = standing(x, y, size, side)
    shadow = blur(shape([(-0.6, -0.03), (0.6, -0.03), (0.8, 0.08), (-0.5, 0.08)]), 3.0) * 0.5
    c.paint(shadow, (0.16, 0.18, 0.15), ink=0.0)
    chimney = shape([(0.20, -1.05), (0.32, -1.05), (0.32, -0.6), (0.20, -0.6)])
    c.paint(chimney, (0.55, 0.34, 0.28), -0.3, angle=1.5)
    c.paint(shape([(-0.05, 0), (0.62, 0), (0.62, -0.46), (-0.05, -0.46)]), wall, -0.75, angle=0.0)
    c.paint(shape([(-0.6, 0), (-0.05, 0), (-0.05, -0.46), (-0.33, -0.90), (-0.6, -0.46)]), wall, 0.35, angle=1.5)
    c.paint(shape([(-0.33, -0.95), (0.42, -0.95), (0.72, -0.42), (-0.02, -0.42)]), roof, -0.15, angle=0.6 * side)
    c.paint(shape([(-0.33, -0.97), (-0.38, -0.90), (-0.68, -0.42), (-0.60, -0.40), (-0.33, -0.83)]), roof, -0.6)
    c.paint(shape([(-0.40, 0), (-0.24, 0), (-0.24, -0.30), (-0.40, -0.30)]), (0.40, 0.26, 0.18), 0.0, angle=1.5)
    left, right = (shape([(u, -0.14), (u + 0.15, -0.14), (u + 0.15, -0.34), (u, -0.34)]) for u in (0.09, 0.38))
    if lit:
        c.glow(x + side * size * 0.3, y - 0.2 * size, 0.14, (1.0, 0.75, 0.38), 0.45)
        c.lay(np.maximum(left, right), rgb((1.0, 0.84, 0.42)), angle=1.5)
    else:
        c.paint(np.maximum(left, right), (0.25, 0.32, 0.40), 0.0, angle=1.5)


def paint_tree(c: Canvas, rng: np.random.Generator, x: float, y: float, size: float, season: str, kind: str) -> None:
    shadow = blur(blobs([(x - c.to_light * size * (0.1 + 0.1 * k), y, size * 0.05) for k in range(4)]), 3.0) * 0.5
    c.paint(shadow, (0.15, 0.17, 0.14), ink=0.0)
    {"palm": palm, "conifer": conifer}.get(kind, bare if season == "winter" else leafy)(c, rng, x, y, size, season)


def leafy(c: Canvas, rng: np.random.Generator, x: float, y: float, size: float, season: str) -> None:
    trunk = standing(x, y, size)([(-0.0585, 0), (0.0585, 0), (0.045, -0.5), (-0.045, -0.5)])
    c.paint(trunk, BARK, angle=1.5)
    colour = LEAVES[season][rng.integers(len(LEAVES[season]))]
    puffs = [
        (x + 0.25 * size * math.cos(a), y - 0.66 * size + 0.19 * size * math.sin(a), size * rng.uniform(0.14, 0.19))
        for a in np.linspace(0, 2 * math.pi, 7, endpoint=False)
    ]
    crown = [*puffs, (x, y - 0.68 * size, 0.23 * size)]
    light = -(X - x) * -c.to_light * 1.6 / size - (Y - y + 0.62 * size) * 2.4 / size
    c.paint(blobs(crown), colour, np.clip(light, -1, 1), angle=0.9)
    bright = [(px + c.to_light * 0.04 * size, py - 0.05 * size, 0.5 * r) for px, py, r in puffs[3:]]
    c.paint(0.55 * blobs(bright), scaled(colour, 1.15, 0.03), 0.6, angle=0.9, ink=0.35)


def bare(c: Canvas, rng: np.random.Generator, x: float, y: float, size: float, season: str) -> None:
    """A tree in winter: a few thick boughs with snow on them."""
    lines = [((x, y), (x, y - 0.50 * size), 0.085 * size)]
    for k in range(6):
        a = -math.pi / 2 + (k - 2.5) * 0.42 + rng.uniform(-0.12, 0.12)
        start = (x, y - size * (0.38 + 0.05 * (k % 3)))
        mid = (start[0] + 0.26 * size * math.cos(a), start[1] + 0.26 * size * math.sin(a))
        lines.append((start, mid, 0.05 * size))
        for b in (a - 0.35, a + 0.4):
            lines.append((mid, (mid[0] + 0.2 * size * math.cos(b), mid[1] + 0.2 * size * math.sin(b)), 0.03 * size))
    c.paint(strokes(lines), BARK, 0.0, angle=1.4)
    snow = [((a[0], a[1] - 0.025 * size), (b[0], b[1] - 0.025 * size), w * 0.6) for a, b, w in lines[1:]]
    c.paint(strokes(snow), SNOW, 0.2, ink=0.2)


def conifer(c: Canvas, rng: np.random.Generator, x: float, y: float, size: float, season: str) -> None:
    c.paint(strokes([((x, y), (x, y - 0.3 * size), 0.07 * size)]), BARK, angle=1.5)
    for k in range(3):
        foot, half = y - size * (0.12 + 0.25 * k), size * (0.27 - 0.065 * k)
        tier = polygon([(x - half, foot), (x + half, foot), (x, foot - 0.42 * size)])
        c.paint(tier, (0.16, 0.37, 0.28), np.clip((X - x) * c.to_light * 2.2 / half, -0.9, 0.9), angle=1.2)
        if season == "winter":
            tip = standing(x, foot, 1.0)([(-0.55 * half, -0.19 * size), (0.55 * half, -0.19 * size), (0, -0.42 * size)])
            c.paint(tip, SNOW, 0.2, angle=1.2, ink=0.3)


def palm(c: Canvas, rng: np.random.Generator, x: float, y: float, size: float, season: str) -> None:
    lean = rng.uniform(-0.18, 0.18)
    crown = (x + lean * size, y - 0.78 * size)
    bend = [(x + lean * size * t * t, y - 0.78 * size * t) for t in np.linspace(0, 1, 6)]
    c.paint(strokes([(a, b, 0.06 * size) for a, b in pairwise(bend)]), (0.50, 0.36, 0.24), angle=1.5)
    for a in np.linspace(math.pi * 0.95, 2 * math.pi + 0.15, 7):
        tip = (crown[0] + 0.36 * size * math.cos(a), crown[1] + 0.26 * size * math.sin(a) + 0.10 * size)
        mid = (crown[0] + 0.22 * size * math.cos(a), crown[1] + 0.26 * size * math.sin(a) - 0.06 * size)
        low = (mid[0], mid[1] + 0.10 * size)
        c.paint(polygon([crown, mid, tip, low]), (0.25, 0.48, 0.24), 0.4 * math.cos(a) * c.to_light, angle=a, ink=0.7)


def paint_fence(c: Canvas, rng: np.random.Generator, y: float, season: str) -> None:
    """Posts and two rails across the whole foreground."""
    wood = ((0.62, 0.46, 0.32), (0.90, 0.87, 0.82), (0.45, 0.36, 0.30))[rng.integers(3)]
    tilt, high = rng.uniform(-0.04, 0.04), rng.uniform(0.11, 0.14)
    posts = np.arange(rng.uniform(0.0, 0.1), 1.05, rng.uniform(0.13, 0.17))
    rails = [((-0.02, y - tilt - high * f), (1.02, y + tilt - high * f), 0.020) for f in (0.35, 0.75)]
    c.paint(strokes(rails), wood, -0.3, angle=0.0)
    outline = [(-0.013, 0.02), (0.013, 0.02), (0.013, -high), (0, -high - 0.018), (-0.013, -high)]
    stakes = np.max([standing(p, y + tilt * (2 * p - 1), 1.0)(outline) for p in posts], axis=0)
    c.paint(stakes, wood, 0.3, angle=1.5)


def paint_campfire(c: Canvas, rng: np.random.Generator, x: float, y: float, size: float) -> None:
    c.glow(x, y - 0.2 * size, 1.7 * size, (1.0, 0.62, 0.26), 0.62)
    logs = [((x - 0.40 * size, y + 0.05 * size), (x + 0.36 * size, y - 0.10 * size), 0.13 * size)]
    logs += [((x + 0.40 * size, y + 0.05 * size), (x - 0.36 * size, y - 0.10 * size), 0.13 * size)]
    c.lay(strokes(logs), rgb((0.26, 0.16, 0.11)))
    left = [(-1, -0.22), (-0.8, -0.50), (-0.35, -0.62)]
    right = [(0.45, -0.60), (0.85, -0.48), (1, -0.22), (0.5, 0), (-0.5, 0)]
    for scale, colour in ((1.0, (0.93, 0.36, 0.11)), (0.68, (1.0, 0.66, 0.16)), (0.38, (1.0, 0.93, 0.60))):
        outline = [*left, (rng.uniform(-0.3, 0.3), -1), *right]
        w, h = 0.30 * size * scale, 0.95 * size * scale
        c.lay(standing(x, y, 1.0)([(w * u, h * v) for u, v in outline]), rgb(colour), angle=1.5, ink=0.8)


# --- composition ---


def choose(rng: np.random.Generator) -> Labels:
    """What to draw: one to three things that can stand together (a boat floats, the moon shines at night)."""
    ground, sky, style = (str(rng.choice(names)) for names in (GROUNDS, SKIES, STYLES))
    season = None if ground == "desert" else str(rng.choice(SEASONS))
    things = {t for t, p in (("tree", 0.5), ("house", 0.36), ("fence", 0.16), ("campfire", 0.17)) if rng.random() < p}
    if ground == "sea":
        things -= {"fence"}
    if rng.random() < (0.75 if ground == "sea" else 0.30):
        things |= {"boat"} if ground == "sea" else {"river"}
    if "river" in things and rng.random() < 0.35:
        things |= {"boat"}
    if rng.random() < {"day": 0.55, "sunset": 1.0, "fog": 0.3}.get(sky, 0.0):
        things |= {"sun"}
    if sky == "night" and rng.random() < 0.85:
        things |= {"moon"}
    if len(things) > 4:
        things -= {"fence", "campfire"}
    return Labels(ground, sky, style, season, tuple(t for t in THINGS if t in things))


def draw(labels: Labels, rng: np.random.Generator) -> Image.Image:
    """The picture that `labels` describe; everything else about it is drawn from `rng`."""
    weather = WEATHER[labels.sky][rng.integers(len(WEATHER[labels.sky]))]
    horizon = float(rng.uniform(0.42, 0.54))
    sun_x = float(rng.choice([rng.uniform(0.12, 0.40), rng.uniform(0.60, 0.88)]))
    low = labels.sky == "sunset" and labels.ground != "mountains"
    sun = sun_x, horizon - float(rng.uniform(0.03, 0.14) if low else rng.uniform(0.24, 0.34))
    if labels.style == "pencil":  # paper is light: the land stays readable at night
        r, g, b = weather.light
        weather = replace(weather, light=(0.5 + 0.5 * r, 0.5 + 0.5 * g, 0.5 + 0.5 * b))
    c = Canvas(weather, labels.style, 1.0 if sun_x > 0.5 else -1.0)
    season = labels.season or "summer"
    paint_sky(c, rng, labels, horizon, sun)
    if labels.sky == "fog":
        mist(c, rng, horizon - 0.05)
    paint_ground = {
        "hills": paint_hills,
        "mountains": paint_mountains,
        "sea": paint_sea,
        "desert": paint_desert,
        "meadow": paint_meadow,
    }[labels.ground]
    front = paint_ground(c, rng, season, horizon)
    if labels.sky == "fog":
        mist(c, rng, horizon + 0.10)
    place(c, rng, labels, season, front, horizon)
    return c.finish(rng)


def place(c: Canvas, rng: np.random.Generator, labels: Labels, season: str, front: Ridge, horizon: float) -> None:
    """Things stand on the front layer, each in a third of the picture of its own."""

    def floor(x: float, down: float) -> float:
        return min(0.93, float(front(np.asarray([x], np.float32))[0]) + down)

    sea = labels.ground == "sea"
    afloat = (float(rng.uniform(0.2, 0.8)), horizon + float(rng.uniform(0.10, 0.20)))
    if "river" in labels.things:
        afloat = paint_river(c, rng, front)
    if "boat" in labels.things:
        paint_boat(c, rng, *afloat, float(rng.uniform(0.20, 0.28)) if sea else 0.19)
    thirds = [float(v) for v in rng.permutation([0.18, 0.5, 0.82])]
    if "river" in labels.things:  # the river keeps the middle
        thirds = [v for v in thirds if v != 0.5] + [0.5]
    spots = iter(thirds)
    if "house" in labels.things:
        x = next(spots) + float(rng.uniform(-0.03, 0.03))
        lit = labels.sky in ("night", "sunset", "storm")
        paint_house(c, rng, x, floor(x, 0.06), float(rng.uniform(0.24, 0.31)), season, lit)
    if "tree" in labels.things:
        x = next(spots) + float(rng.uniform(-0.04, 0.04))
        kind = "palm" if labels.ground == "desert" or (sea and season == "summer") else "leafy"
        if kind == "leafy" and labels.ground == "mountains" and rng.random() < 0.6:
            kind = "conifer"
        for k in range(rng.integers(1, 4)):
            xk = x + (0.0, -0.13, 0.12)[k]
            paint_tree(
                c,
                rng,
                xk,
                floor(xk, 0.05 + 0.02 * k),
                float(rng.uniform(0.34, 0.46)) * (1.0, 0.7, 0.8)[k],
                season,
                kind,
            )
    if "fence" in labels.things:
        paint_fence(c, rng, floor(0.5, 0.13), season)
    if "campfire" in labels.things:
        x = next(spots)
        paint_campfire(c, rng, x, min(0.94, floor(x, 0.15)), float(rng.uniform(0.15, 0.20)))


# --- words ---

BEFORE: dict[str, tuple[str, ...]] = {
    "photo": ("a photo of", "a photograph of", "photo of", "a realistic picture of"),
    "impressionist": (
        "an impressionist painting of",
        "impressionist painting of",
        "an oil painting of",
        "a painting of",
    ),
    "poster": ("a flat poster of", "a poster of", "a minimalist poster of", "a flat illustration of"),
    "pencil": ("a pencil sketch of", "a pencil drawing of", "pencil sketch of", "a sketch of"),
}
AFTER: dict[str, tuple[str, ...]] = {
    "photo": ("photo", "photograph", "realistic", "photorealistic"),
    "impressionist": ("impressionist painting", "impressionism", "impressionist", "loose brush strokes"),
    "poster": ("flat poster", "poster", "flat colours", "minimalist poster"),
    "pencil": ("pencil sketch", "pencil drawing", "sketch", "graphite on paper"),
}
WHERE: dict[str, tuple[str, ...]] = {
    "hills": ("in the hills", "rolling hills", "among green hills", "hills"),
    "mountains": ("in the mountains", "mountains", "below snowy mountains", "mountain landscape"),
    "sea": ("by the sea", "the sea", "at the seaside", "on the coast"),
    "desert": ("in the desert", "sand dunes", "desert", "among dunes"),
    "meadow": ("in a meadow", "a meadow", "in a field of flowers", "meadow"),
}
SCENERY: dict[str, tuple[str, ...]] = {  # a ground that is all there is to see
    "hills": ("rolling hills", "hills", "a hilly landscape"),
    "mountains": ("mountains", "a mountain landscape", "snowy mountains"),
    "sea": ("the sea", "a calm sea", "a beach by the sea"),
    "desert": ("a desert", "sand dunes", "the desert"),
    "meadow": ("a meadow", "a field of flowers", "a wide meadow"),
}
WHEN: dict[str, tuple[str, ...]] = {
    "day": ("on a clear day", "by day", "under a blue sky", "daylight", "on a sunny day"),
    "sunset": ("at sunset", "sunset", "in the evening", "at dusk", "under a sunset sky"),
    "night": ("at night", "night", "under the stars", "on a starry night", "by moonlight"),
    "storm": ("in a storm", "storm", "on a stormy day", "under dark clouds", "stormy sky"),
    "fog": ("in the fog", "fog", "on a foggy day", "in the mist", "misty"),
}
YEAR: dict[str, tuple[str, ...]] = {
    "spring": ("in spring", "spring", "in the spring"),
    "summer": ("in summer", "summer", "in the summer"),
    "autumn": ("in autumn", "autumn", "in the fall"),
    "winter": ("in winter", "winter", "in the snow", "snowy"),
}
NOUNS: dict[str, tuple[str, ...]] = {
    "tree": ("a tree", "trees", "a tree"),
    "house": ("a house", "a cottage", "a house", "a little house"),
    "boat": ("a boat", "a sailing boat", "a boat"),
    "river": ("a river", "a stream", "a river"),
    "sun": ("the sun", "a low sun", "sun"),
    "moon": ("the moon", "a bright moon", "moon"),
    "fence": ("a fence", "a wooden fence"),
    "campfire": ("a campfire", "a fire", "a campfire"),
}


def listed(nouns: Sequence[str]) -> str:
    """`a house`, `a house and a tree`, `a house, a tree and a fence`."""
    return nouns[0] if len(nouns) == 1 else f"{', '.join(nouns[:-1])} and {nouns[-1]}"


def subject(labels: Labels, rng: np.random.Generator, omit: float) -> str:
    """What the picture is of: the things that get mentioned, on or by the water, or the ground alone."""
    obvious = ("sun", "moon")
    said = {t: str(rng.choice(NOUNS[t])) for t in labels.things if rng.random() >= (4 * omit if t in obvious else omit)}
    water = said.pop("river", "")
    boat = said.pop("boat", "") if water else ""
    nouns = [str(n) for n in rng.permutation(list(said.values()))]
    if boat:
        nouns.insert(0, f"{boat} on {water}")
    elif water and nouns and rng.random() < 0.75:
        nouns[-1] = f"{nouns[-1]} by {water}"
    elif water:
        nouns.append(water)
    return listed(nouns) if nouns else str(rng.choice(SCENERY[labels.ground]))


def caption(labels: Labels, rng: np.random.Generator, omit: float = 0.12) -> str:
    """One of many ways to ask for a picture; parts are left out at the rate `omit`, so that short prompts work too."""
    what = subject(labels, rng, omit)
    rest: list[str] = []
    if what not in SCENERY[labels.ground] and rng.random() >= omit:
        rest.append(rng.choice(WHERE[labels.ground]))
    if rng.random() >= omit:
        rest.append(rng.choice(WHEN[labels.sky]))
    if labels.season and rng.random() > 0.45:
        rest.append(rng.choice(YEAR[labels.season]))
    rng.shuffle(rest)
    phrases = [r for r in rest if r.split()[0] in ("in", "at", "by", "on", "among", "below", "under")]
    tags = [r for r in rest if r not in phrases]
    style = rng.random()
    text = " ".join([what, *phrases])
    if style < 0.50:
        text = f"{rng.choice(BEFORE[labels.style])} {text}"
    if style > 1 - omit:
        return ", ".join([text, *tags])
    if style >= 0.50:
        tags.insert(int(rng.integers(len(tags) + 1)), str(rng.choice(AFTER[labels.style])))
        if rng.random() < 0.2:
            return ", ".join([tags[0], text, *tags[1:]])
    return ", ".join([text, *tags])


def scene(seed: int) -> tuple[Image.Image, str, Labels]:
    """The scene of a seed: a picture of SIZE x SIZE, its caption, and what it shows."""
    rng = np.random.default_rng(seed)
    labels = choose(rng)
    return draw(labels, rng), caption(labels, rng), labels
