"""Counts and sizes, as the pages of the bench read them."""

from ..cli.parser import reading
from ..values import whole

COUNT = reading(whole(1).strictly().read)


def check_sizes(*sizes: int) -> None:
    """Raise ValueError for a side that not every level of a net has whole pixels of."""
    for size in sizes:
        if size % 64:
            raise ValueError(f"size is {size}: it must be a multiple of 64, so that every level has whole pixels")
