"""torch's random numbers, without torch: what a seed means in tools that are built on it.

A generator goes on where it stopped: its second `randn` is what torch's second `randn` after the same `manual_seed` is.
"""

import math
from typing import Protocol

import numpy as np

BLOCK = 16  # numbers that torch makes of one another on a CPU


class Generator(Protocol):
    """A stream of random numbers."""

    def randn(self, count: int) -> np.ndarray:
        """The next (count,) numbers N(0, 1), float32."""


class CPUGenerator:
    """`torch.Generator()`: the Mersenne Twister (Matsumoto & Nishimura 1998), and Box and Muller's transform."""

    def __init__(self, seed: int) -> None:
        """seed: of which torch takes the last 32 bits here."""
        self._words = np.random.RandomState(seed % 2**32)
        self._kept: float | None = None  # the second of a pair, whose first one a short randn ended with

    def _take(self, count: int) -> np.ndarray:
        return self._words.randint(0, 2**32, count, dtype=np.uint32)

    def _uniform(self, count: int) -> np.ndarray:
        """Numbers in [0, 1) of 24 bits each, float32."""
        return (self._take(count) & np.uint32(2**24 - 1)).astype(np.float32) * np.float32(2.0**-24)

    def randn(self, count: int) -> np.ndarray:
        """The next (count,) numbers N(0, 1), float32; fewer than 16 of them torch makes one by one, in double."""
        if count < BLOCK:
            return np.array([self._one() for _ in range(count)], dtype=np.float32)
        whole = count - count % BLOCK
        numbers = np.empty(count, dtype=np.float32)
        uniform = self._uniform(count)
        numbers[:whole] = _normal(uniform[:whole])
        if whole < count:  # the last block of a length that is no multiple of 16 overlaps the one before it
            numbers[-BLOCK:] = _normal(self._uniform(BLOCK))
        return numbers

    def _one(self) -> float:
        if self._kept is not None:
            one, self._kept = self._kept, None
            return one
        high_u, low_u, high_v, low_v = map(int, self._take(4))
        u, v = (((high << 32 | low) & (2**53 - 1)) * 2.0**-53 for high, low in ((high_u, low_u), (high_v, low_v)))
        radius = math.sqrt(-2 * math.log1p(-v))
        self._kept = radius * math.sin(2 * math.pi * u)
        return radius * math.cos(2 * math.pi * u)


def _normal(uniform: np.ndarray) -> np.ndarray:
    """Whole blocks of numbers in [0, 1) -> as many N(0, 1): the halves of a block are radii and angles.

    All of it in float32, as torch has it: an angle's last place is seen in the sixth of the result.
    """
    u, v = uniform.reshape(-1, 2, BLOCK // 2).transpose(1, 0, 2)
    radius, angle = np.sqrt(np.float32(-2) * np.log(1 - u)), np.float32(2 * np.pi) * v
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1).reshape(-1)


class CUDAGenerator:
    """`torch.Generator("cuda")`: Philox 4x32-10 (Salmon et al. 2011), a counter for each number.

    So AUTOMATIC1111's "NV" has it for any count; a card that runs fewer threads than count makes the rest otherwise.
    """

    def __init__(self, seed: int) -> None:
        """seed: of 64 bits."""
        self._key = seed % 2**32, seed >> 32 & (2**32 - 1)
        self._drawn = 0

    def randn(self, count: int) -> np.ndarray:
        """The next (count,) numbers N(0, 1), float32."""
        counter = np.zeros((4, count), dtype=np.uint64)
        counter[0], counter[2] = self._drawn, np.arange(count)
        self._drawn += 1
        a, b, *_ = _philox(counter, *self._key)
        u, angle = a * 2.0**-32 + 2.0**-33, 2 * np.pi * (b * 2.0**-32 + 2.0**-33)
        return (np.sqrt(-2 * np.log(u)) * np.sin(angle)).astype(np.float32)


def _philox(counter: np.ndarray, low: int, high: int, rounds: int = 10) -> np.ndarray:
    """Words (4, N) mixed with a key of two words -> (4, N) words, all of 32 bits held in 64."""
    word = np.uint64(2**32 - 1)
    a, b, c, d = counter
    for _ in range(rounds):
        x, y = a * np.uint64(0xD2511F53), c * np.uint64(0xCD9E8D57)
        shift = np.uint64(32)
        a, b, c, d = (y >> shift) ^ b ^ np.uint64(low), y & word, (x >> shift) ^ d ^ np.uint64(high), x & word
        low, high = (low + 0x9E3779B9) % 2**32, (high + 0xBB67AE85) % 2**32
    return np.stack([a, b, c, d])


GENERATORS: dict[str, type[CPUGenerator] | type[CUDAGenerator]] = {"torch": CPUGenerator, "nvidia": CUDAGenerator}
