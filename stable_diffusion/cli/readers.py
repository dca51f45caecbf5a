"""How the values of options are read: strictly, with a sentence for what is none."""

import argparse
from collections.abc import Callable
from typing import Any

from ..diffusion.aliases import sampler_name, spacing_name
from ..diffusion.samplers import sampler_named
from ..diffusion.spacing import spacing_named
from ..settings import Settings


def whole(least: int | None = None, most: int | None = None) -> Callable[[str], int]:
    """A reader of whole numbers between two limits."""

    def read(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text[:40]!r} is not a whole number") from None
        if least is not None and value < least:
            raise argparse.ArgumentTypeError(f"{value} is too few: at least {least}")
        if most is not None and value > most:
            raise argparse.ArgumentTypeError(f"{value} is too many: at most {most}")
        return value

    return read


def number(text: str) -> float:
    """A number with a point, maybe."""
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is not a number") from None


def _named(reader: Callable[[str], Any]) -> Callable[[str], Any]:
    """A reader whose own sentence is shown where a name is unknown."""

    def read(text: str) -> Any:
        if text == "list":
            return text
        try:
            return reader(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return read


def _checked_sampler(text: str) -> str:
    sampler_named(sampler_name(text)[0])
    return text


def _checked_spacing(text: str) -> str:
    spacing_named(spacing_name(text))
    return text


a_sampler, a_spacing = _named(_checked_sampler), _named(_checked_spacing)


def numbers(text: str) -> tuple[float, ...]:
    """Numbers between commas."""
    return tuple(number(word) for word in text.split(","))


def strengths(text: str) -> tuple[float, ...]:
    """Strengths between commas, a range 0.1:1:0.1, or a count of them, evenly up to 1. Raises ArgumentTypeError."""
    if "," not in text and text.strip().isdigit() and int(text) > 1:
        n = whole(2, 100)(text)
        return tuple((k + 1) / n for k in range(n))
    values = _range(text) if ":" in text else tuple(number(word) for word in text.split(","))
    for value in values:
        if not 0 <= value <= 1:
            raise argparse.ArgumentTypeError(f"the strength {value:g} is not from 0 to 1")
    if len({f"{value:g}" for value in values}) < len(values):
        raise argparse.ArgumentTypeError(f"{text[:40]!r} names a strength twice, or two that are nearly the same")
    return values


def _range(text: str) -> tuple[float, ...]:
    """Numbers from:to:by, both ends in it."""
    words = text.split(":")
    if len(words) != 3:
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is not a range: write it from:to:by, as in 0.1:1:0.1")
    low, high, by = map(number, words)
    if not (by > 0 and low <= high and (high - low) / by < 100):
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is not a range: it must rise, in at most 100 steps")
    return tuple(round(low + k * by, 9) for k in range(int((high - low) / by + 1e-6) + 1))


def share(text: str) -> float:
    """A number from 0 to 1."""
    value = number(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{value:g} is not from 0 to 1")
    return value


def above_0(text: str) -> float:
    """A number above 0, and not without end."""
    value = number(text)
    if not 0 < value < 1e6:
        raise argparse.ArgumentTypeError(f"{value:g} is not a number above 0")
    return value


def variation(text: str) -> tuple[int, float]:
    """SEED:AMOUNT, the perturbation of a start. Raises ArgumentTypeError."""
    seed, colon, amount = text.partition(":")
    if not colon:
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is not SEED:AMOUNT, as in 1234:0.2")
    return whole(0, 2**63 - 1)(seed), share(amount)


# How the values of a setting are read where several are named.
_READERS: dict[str, Callable[[str], Any]] = {
    **dict.fromkeys(("prompt", "negative_prompt", "source_prompt", "discretize", "strength_mode", "start"), str),
    **dict.fromkeys(("seed", "width", "height", "steps", "start_step", "clip_skip"), whole()),
    **dict.fromkeys(("cfg", "cfg_rescale", "eta", "strength", "image_weight"), number),
    **dict.fromkeys(("s_churn", "s_tmin", "s_tmax", "s_noise"), number),
    "sampler": a_sampler,
    "spacing": a_spacing,
    "sigmas": numbers,
    "times": numbers,
    "perturb": lambda text: tuple(variation(word) for word in text.split(",")),
}


def axis(text: str) -> tuple[str, tuple[Any, ...]]:
    """NAME=VALUE,VALUE,...: a setting and its values; between | where a value has commas itself."""
    name, equals, values = text.partition("=")
    name = name.strip().replace("-", "_")
    if not equals or name not in _READERS:
        known = ", ".join(sorted(_READERS))
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is not SETTING=VALUE,VALUE with a setting out of {known}")
    words = [word.strip() for word in values.split("|" if "|" in values else ",")]
    found = tuple(_READERS[name](word) for word in words)
    try:
        for value in found:
            Settings(**{name: value})
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    if len(set(found)) < len(found):
        raise argparse.ArgumentTypeError(f"{text[:40]!r} names a value twice")
    return name, found
