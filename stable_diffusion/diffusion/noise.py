"""Randomness by key: every use of a seed has a key of its own, so that nothing depends on what was drawn before.

The key of a use is a hash of the seed and the use's name. Image k of a batch is the picture of seed + k alone, and a
changed start leaves the noise of the sampler's steps as it was.
"""

import hashlib
import math
from collections.abc import Callable, Sequence

import mlx.core as mx

from ..settings import NoiseSource, Perturbation

Noise = Callable[[int, int], mx.array]  # (step, draw) -> N(0, 1), shaped like x; it may also have `between`


def key(seed: int, *use: str | int) -> mx.array:
    """The random key of one use of a seed, e.g. `key(7, "step", 3, 0)`."""
    name = repr((int(seed), *use))  # int: NumPy's own write themselves differently
    digest = hashlib.blake2b(name.encode(), digest_size=8).digest()
    return mx.random.key(int.from_bytes(digest, "big"))


def perturbed(n: mx.array, other: mx.array, amount: float, mask: mx.array | None = None) -> mx.array:
    """n' = sqrt(1 - a^2) n + a other: two N(0, 1) in, an N(0, 1) out, correlated sqrt(1 - a^2) with n.

    The step of a preconditioned Crank-Nicolson walk (Cotter et al. 2013): however often it is taken, the result is
    exactly N(0, I), which slerp and a plain mix are not. amount in [0, 1]; with a mask (h, w) in [0, 1], a * mask at
    each place: still of unit variance everywhere.
    """
    if mask is None:
        return math.sqrt(1 - amount**2) * n + amount * other
    a = amount * mask[..., None]
    return mx.sqrt(1 - mx.square(a)) * n + a * other


def slider(v: float) -> float:
    """The amount of other tools' variation strength v in [0, 1], which is an angle: a = sin(pi v / 2)."""
    return math.sin(math.pi * v / 2)


def child_seed(seed: int, perturb: Sequence[Perturbation], k: int) -> int:
    """The seed that perturbs child k of a picture: of its own family, and the same whenever it is asked for."""
    digest = hashlib.blake2b(repr((int(seed), "child", tuple(perturb), k)).encode(), digest_size=4).digest()
    return int.from_bytes(digest, "big") >> 1  # short enough to be typed again


def start_noise(
    seeds: Sequence[int], shape: tuple[int, ...], source: NoiseSource = "mlx", place: tuple[int, int] = (1, 1)
) -> mx.array:
    """The noise that images start from: (len(seeds), *shape), row k of seeds[k] alone.

    source: whose random numbers; place: see StreamNoise.
    """
    if source == "mlx":
        return mx.stack([mx.random.normal(shape, key=key(seed, "start")) for seed in seeds])
    return StreamNoise(source, seeds, shape, place).draw()


def perturbed_by(
    n: mx.array, perturbations: Sequence[tuple[int, float, mx.array | None]], source: NoiseSource = "mlx"
) -> mx.array:
    """Noise (B, ...) after (seed, amount, mask) of each perturbation, in order; all rows by the same noises."""
    for seed, amount, mask in perturbations:
        n = perturbed(n, start_noise([seed], n.shape[1:], source), amount, mask)
    return n


def slerped(n: mx.array, other: mx.array, v: float) -> mx.array:
    """Noise (B, h, w, C) turned by the share v of the angle to another, each column of each channel by itself.

    So AUTOMATIC1111 mixes in the noise of its variation seed, v being the variation strength: spherical interpolation
    (Shoemake 1985), over one side of the picture only because its code counts the axes of a batch.
    """
    cosine = (n * other).sum(axis=1, keepdims=True) / mx.sqrt(
        mx.square(n).sum(axis=1, keepdims=True) * mx.square(other).sum(axis=1, keepdims=True)
    )
    if float(cosine.mean()) > 0.9995:  # the same noise twice
        return (1 - v) * n + v * other
    angle = mx.arccos(mx.clip(cosine, -1, 1))
    return (mx.sin((1 - v) * angle) * n + mx.sin(v * angle) * other) / mx.sin(angle)


class StepNoise:
    """The noise that a sampler adds on its way, (len(seeds), *shape), row k of seeds[k] alone.

    `noise(i, k)` is draw k of step i. `noise.between(s, t)` is the increment, scaled to N(0, 1), of one Brownian path
    over the noise levels: runs of more steps see the same path, only finer.
    """

    def __init__(self, seeds: Sequence[int], shape: tuple[int, ...]) -> None:
        self._shape = shape
        self._seeds = tuple(seeds)
        self._paths = [BrownianPath(seed, shape) for seed in seeds]

    def __call__(self, i: int, k: int) -> mx.array:
        return mx.stack([mx.random.normal(self._shape, key=key(seed, "step", i, k)) for seed in self._seeds])

    def between(self, s: float, t: float) -> mx.array:
        return mx.stack([path(s) - path(t) for path in self._paths]) * abs(s - t) ** -0.5


class StreamNoise:
    """The noise of other tools: one stream of random numbers a seed, from which each use takes the next ones.

    place: (k, n) where the picture was number k, from 1, of n that were drawn at once, as (n, C, h, w). So that a
    call is a draw, whatever step it is for, a sampler asks for the noise of its steps in order, each once.
    """

    def __init__(
        self, source: NoiseSource, seeds: Sequence[int], shape: tuple[int, ...], place: tuple[int, int] = (1, 1)
    ) -> None:
        self._shape = shape
        self._place = place
        from .generators import GENERATORS  # and numpy, for another tool's seeds alone

        self._generators = [GENERATORS[source](seed) for seed in seeds]

    def draw(self) -> mx.array:
        """The next noise, (len(seeds), *shape): drawn channel-first, as torch has it, and turned round."""
        *sides, channels = self._shape
        k, n = self._place
        count = n * math.prod(self._shape)
        drawn = mx.stack([mx.array(g.randn(count)).reshape(n, channels, *sides)[k - 1] for g in self._generators])
        return mx.contiguous(mx.moveaxis(drawn, 1, -1))

    def __call__(self, i: int, k: int) -> mx.array:
        return self.draw()


def step_noise(
    seeds: Sequence[int],
    shape: tuple[int, ...],
    start_source: NoiseSource = "mlx",
    place: tuple[int, int] = (1, 1),
    source: NoiseSource | None = None,
    delta: int = 0,
) -> Noise:
    """The noise that a sampler adds on its way, row k of seeds[k] alone.

    It is drawn on in the stream of the start, of start_source; or, with a source or a delta of its own, from the
    beginning in the stream of seed + delta.
    """
    shifted = [seed + delta for seed in seeds]
    own = source or start_source
    if own == "mlx":
        return StepNoise(shifted, shape)
    noise = StreamNoise(own, shifted, shape, place)
    if source is None and delta == 0:
        noise.draw()  # the start
    return noise


class BrownianPath:
    """A Brownian motion W(sigma), W(0) = 0, that can be asked anywhere and answers every time the same.

    A virtual Brownian tree (Li et al. 2020, 2001.01328, algorithm 3): the path is halved again and again towards the
    level, and the key of each mid-point is its place in the tree.
    """

    TOP = 2.0**20  # a cosine schedule reaches 20,291
    DEPTH = 44  # halves 2^20 to 6e-8, well below the smallest difference of two levels

    def __init__(self, seed: int, shape: tuple[int, ...]) -> None:
        self._seed = seed
        self._shape = shape
        self._known: dict[float, mx.array] = {}

    def _draw(self, *place: int) -> mx.array:
        return mx.random.normal(self._shape, key=key(self._seed, "path", *place))

    def __call__(self, sigma: float) -> mx.array:
        """W(sigma), sigma from 0 to TOP."""
        if sigma not in self._known:
            self._known[sigma] = self._walk_down(sigma)
        return self._known[sigma]

    def _walk_down(self, sigma: float) -> mx.array:
        if not 0 <= sigma <= self.TOP:
            raise ValueError(f"noise level {sigma:g} is above {self.TOP:g}, where the samplers' noise ends")
        a, b = 0.0, self.TOP
        at_a, at_b = mx.zeros(self._shape), math.sqrt(self.TOP) * self._draw()
        place = 1
        for _ in range(self.DEPTH):
            mid = (a + b) / 2
            at_mid = (at_a + at_b) / 2 + math.sqrt((b - a) / 4) * self._draw(place)
            if sigma < mid:
                b, at_b, place = mid, at_mid, 2 * place
            else:
                a, at_a, place = mid, at_mid, 2 * place + 1
        return at_a + (sigma - a) / (b - a) * (at_b - at_a)


def increment(noise: Noise, s: float, t: float, i: int, k: int) -> mx.array:
    """N(0, 1) for the way from level s to level t: of the noise's path where it has one, else draw k of step i."""
    between = getattr(noise, "between", None)
    return noise(i, k) if between is None else between(s, t)
