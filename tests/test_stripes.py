"""Autoencoders in stripes against the same of whole pictures: both ways, at any size, and with less in memory."""

import math
import weakref
from collections.abc import Callable

import mlx.core as mx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stable_diffusion import StableDiffusion
from stable_diffusion.compute import stripes
from stable_diffusion.compute.chain import Window
from stable_diffusion.compute.norm import GroupNorm
from stable_diffusion.compute.streams import done, spread
from stable_diffusion.compute.stripes import Kept, Stripes, Tiling, through, whole
from stable_diffusion.config import TinyVAEConfig
from stable_diffusion.models.taesd import TinyAutoencoder
from stable_diffusion.models.vae import AutoencoderKL

NETS: dict[str, Callable[[], AutoencoderKL | TinyAutoencoder]] = {
    "demo": lambda: StableDiffusion("demo", float16=False).autoencoder,
    "taesd": lambda: TinyAutoencoder(TinyVAEConfig(channels=16)),
}
# Batch, latents down and across, tile: a single row, a single column, odd numbers, larger and smaller than the tile.
SIZES = [
    (1, 16, 16, 64), (2, 17, 13, 48), (1, 1, 40, 16), (1, 40, 1, 16), (1, 3, 50, 16), (3, 2, 2, 512), (1, 1, 1, 16),
]  # fmt: skip


@pytest.fixture(scope="module", params=NETS)
def net(request: pytest.FixtureRequest) -> AutoencoderKL | TinyAutoencoder:
    return NETS[request.param]()


def apart(found: mx.array, wanted: mx.array) -> float:
    assert found.shape == wanted.shape
    return float(mx.abs(found - wanted).max())


def latents(B: int, h: int, w: int) -> mx.array:
    """Darker above than below, and left than right: no stripe is like the whole."""
    slope = mx.linspace(-2, 2, h)[:, None, None] + mx.linspace(-1, 1, w)[None, :, None]
    return mx.random.normal((B, h, w, 4), key=mx.random.key(h + w)) + slope


def same(net: AutoencoderKL | TinyAutoencoder, B: int, h: int, w: int, tiling: Tiling) -> None:
    z = latents(B, h, w)
    picture = done(lambda: net.decode(z))
    assert apart(done(lambda: net.decode(z, tiling)), picture) < 1e-5
    x = mx.clip(picture, -1, 1)
    found, wanted = (done(lambda: mx.stack(list(net.encode(x, tiling)))), done(lambda: mx.stack(list(net.encode(x)))))
    assert apart(found, wanted) < 2e-5


@pytest.mark.parametrize(("B", "h", "w", "tile"), SIZES)
def test_stripes_make_the_same(net: AutoencoderKL | TinyAutoencoder, B: int, h: int, w: int, tile: int) -> None:
    for room in (1, 2):
        same(net, B, h, w, Tiling(tile, room))


@settings(max_examples=15, deadline=None)
@given(h=st.integers(1, 30), w=st.integers(1, 30), tile=st.integers(16, 200), room=st.integers(1, 2))
def test_stripes_of_any_size_make_the_same(
    net: AutoencoderKL | TinyAutoencoder, h: int, w: int, tile: int, room: int
) -> None:
    same(net, 1, h, w, Tiling(tile, room))


def test_halves_apart_would_not_be_the_same() -> None:
    """What the tests above would find, if each stripe had statistics of its own."""
    net, z = NETS["demo"](), latents(1, 16, 16)
    halves = mx.concatenate([spread(net.decode)(half) for half in mx.split(z, 2, axis=1)], axis=1)
    assert apart(halves, done(lambda: net.decode(z))) > 0.1


def test_half_precision_stays_half_and_near() -> None:
    net, z = NETS["demo"](), latents(1, 8, 6)
    wanted = done(lambda: net.decode(z))
    net.set_dtype(mx.float16)
    found = done(lambda: net.decode(z.astype(mx.float16), Tiling(16)))
    assert found.dtype == mx.float16
    assert apart(found.astype(mx.float32), wanted) < 0.02


@pytest.mark.parametrize("decoding", [True, False])
@pytest.mark.parametrize("room", [1, 2])
def test_what_is_kept_is_never_more_than_there_is_room_for(
    decoding: bool, room: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The claim that the estimate of memory is made from."""
    alive: weakref.WeakSet[Kept] = weakref.WeakSet()
    most, add, side, tile = [0], Kept.add, 192, 48

    def adding(self: Kept, first: int, stripe: mx.array) -> None:
        alive.add(self)
        add(self, first, stripe)
        most[0] = max(most[0], sum(part.size for kept in alive for _, part in kept.stripes))

    monkeypatch.setattr(Kept, "add", adding)
    net = NETS["demo"]()
    x = latents(1, side // 8, side // 8) if decoding else mx.zeros((1, side, side, 3))
    tiling = Tiling(tile, room)
    done(lambda: net.decode(x, tiling) if decoding else net.encode(x, tiling)[0])
    widest = side**2 * (16 * room + 3)  # the demo's first level has 16 channels
    assert most[0] < widest + 4 * tile**2 * 16
    assert most[0] > 0.8 * widest or (room == 2 and not decoding)  # the demo's encoder has no use for twice


def test_a_large_picture_takes_less_memory() -> None:
    """Of the demo's autoencoder at 512 x 512, as MLX counts it, most of which are its streams' own stripes."""
    net, z = NETS["demo"](), latents(1, 64, 64)

    def peak(tiling: Tiling | None) -> int:
        mx.eval(net.parameters())
        before = mx.get_active_memory()
        mx.reset_peak_memory()
        done(lambda: net.decode(z, tiling))
        return mx.get_peak_memory() - before

    once, twice, whole = (peak(tiling) for tiling in (Tiling(64, room=1), Tiling(64), None))
    assert max(once, twice) < 0.6 * whole, (once, twice, whole)


def test_rows_are_dropped_once_all_after_them_is_made() -> None:
    kept = Kept()
    for k in range(4):
        kept.add(2 * k, mx.full((1, 2, 1, 1), k))
    assert kept.take(3, 6).flatten().tolist() == [1, 2, 2]
    kept.drop()
    assert [first for first, _ in kept.stripes] == [2, 4, 6]
    kept.drop()  # nothing was taken since
    assert [first for first, _ in kept.stripes] == [2, 4, 6]
    with pytest.raises(AssertionError, match="dropped"):
        kept.take(0, 3)


@pytest.mark.parametrize(("up", "down", "halo"), [(1, 1, 1), (1, 1, 3), (2, 1, 0), (2, 1, 1), (1, 2, 1)])
def test_a_net_sees_what_it_needs_and_no_more(up: int, down: int, halo: int) -> None:
    """A net that sums what it sees, filled up with zeros as convolutions are."""
    H = 12
    x = mx.arange(1.0, H + 1).reshape(1, H, 1, 1)
    seen: list[int] = []

    def net(part: mx.array) -> mx.array:
        seen.append(part.shape[1])
        rows = mx.repeat(part, up, axis=1)
        filled = mx.pad(rows, [(0, 0), (halo, halo), (0, 0), (0, 0)])
        summed = sum(filled[:, i : i + rows.shape[1]] for i in range(2 * halo + 1))
        assert isinstance(summed, mx.array)
        return summed[:, ::down]

    wanted = net(x)
    rows = through(net, whole(x), Window(halo, up, down))
    assert rows.shape[0] == wanted.shape[1] == H * up // down
    for a in range(rows.shape[0]):
        for b in range(a + 1, rows.shape[0] + 1):
            assert mx.array_equal(rows.take(a, b), wanted[:, a:b])
            assert seen[-1] <= math.ceil((b - a) * down / up) + 2 * halo + 2 * down


def test_a_norm_of_parts_is_that_of_the_whole() -> None:
    norm, x = GroupNorm(4, 8), mx.random.normal((1, 40, 6, 8), key=mx.random.key(1)) + mx.arange(40.0)[:, None, None]
    norm.weight, norm.bias = (mx.random.normal((8,), key=mx.random.key(k)) for k in (2, 3))
    parts = Stripes(numbers=30 * 8, channels=8, room=0).norm(norm, whole(x))
    assert apart(parts(x[:, 5:9]), norm.with_silu(x)(x)[:, 5:9]) < 1e-5


def test_stripes_are_of_about_so_many_numbers() -> None:
    walk = Stripes(numbers=400, channels=4, room=0)
    for H, W in [(40, 10), (41, 10), (3, 1000), (1, 5), (1000, 1)]:
        spans = walk._spans(whole(mx.zeros((1, H, W, 1))))
        assert [a for a, _ in spans] == [0, *(b for _, b in spans[:-1])] and spans[-1][1] == H
        assert all((b - a) * W < 200 or b - a <= 3 for a, b in spans)
        assert H == 1 or all(b - a >= 2 for a, b in spans)
    assert len(walk._spans(whole(mx.zeros((1, 40, 10, 8))))) == 2 * len(walk._spans(whole(mx.zeros((1, 40, 10, 3)))))


def test_a_picture_that_is_no_larger_than_a_tile_is_made_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stripes, "Stripes", None)
    net, z = NETS["demo"](), latents(2, 4, 4)
    assert apart(net.decode(z, Tiling(32)), net.decode(z)) == 0
