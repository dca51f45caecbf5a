"""Nets that work one after the other, where memory is too short for all of them."""

from collections.abc import Callable, Iterator, Mapping

import mlx.nn as nn


class InTurn(Mapping[str, nn.Module]):
    """Nets by name, each of which is called when it is looked at: it and those before it need not be there together."""

    def __init__(self, names: Mapping[str, str], called: Callable[[str], nn.Module]) -> None:
        """names: what each net is called here, and where it is called."""
        self._names, self._called = names, called

    def __getitem__(self, name: str) -> nn.Module:
        return self._called(self._names[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)
