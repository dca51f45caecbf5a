"""A graph of nodes, evaluated backwards: what an output means follows from the inputs of its node."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

DEEPEST = 100  # nodes one behind another
MOST_NODES = 5000


@dataclass(frozen=True)
class Unknown:
    """A value that nothing here can tell, and whose fault that is, the rest of a sentence."""

    why: str


@dataclass(frozen=True)
class Node:
    """A node as the graph describes it: an input is a constant, or a link [node, output]."""

    name: str
    kind: str
    inputs: Mapping[str, Any]


@dataclass(frozen=True)
class At:
    """A node whose meaning is asked for, at one of its outputs."""

    node: Node
    output: int
    graph: "Graph"

    def __getitem__(self, name: str) -> Any:
        """What an input means: a constant, or what the output means that it is linked to. None: it is not there."""
        return self.graph.value(self.node.inputs.get(name))

    def number(self, name: str, default: float) -> float | Unknown:
        """An input that is a number; where it is not there, what the node takes then."""
        value = self[name]
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int | float | Unknown):
            return Unknown(f"{name} of the node {self.node.kind[:60]} is {value!r:.40}")
        return value

    def text(self, name: str) -> str | Unknown:
        """An input that is a text. Numbers are texts too, as they are there."""
        value = self[name]
        if isinstance(value, str | Unknown):
            return value
        if isinstance(value, int | float) and not isinstance(value, bool):
            return str(value)
        return Unknown(f"{name} of the node {self.node.kind[:60]}")


Meaning = Callable[[At], Any]


@dataclass
class Graph:
    """All nodes, the table of what their outputs mean, and what has been found already."""

    nodes: Mapping[str, Node]
    table: Mapping[str, Meaning]
    _found: dict[tuple[str, int], Any] = field(default_factory=dict)
    _open: list[tuple[str, int]] = field(default_factory=list)

    @classmethod
    def of(cls, words: Mapping[str, Any], table: Mapping[str, Meaning]) -> "Graph | None":
        """The graph in a JSON object; None where it is no graph. Raises ValueError for one that is too large."""
        described = {str(name): node for name, node in words.items() if isinstance(node, dict) and "class_type" in node}
        if len(described) > MOST_NODES:
            raise ValueError(f"its graph has {len(described)} nodes, and {MOST_NODES} at most are read")
        nodes = {
            name: Node(name, str(node["class_type"]), inputs if isinstance(inputs := node.get("inputs"), dict) else {})
            for name, node in described.items()
        }
        return cls(nodes, table) if nodes else None

    def linked(self, value: Any) -> tuple[Node, int] | None:
        """The node and the output that an input is linked to; None for a constant, and for a link to nowhere."""
        if not isinstance(value, list) or len(value) != 2 or not isinstance(value[0], str | int):
            return None
        node, output = self.nodes.get(str(value[0])), value[1]
        if node is None or isinstance(output, bool) or not isinstance(output, int):
            return None
        return node, output

    def value(self, given: Any) -> Any:
        """What a constant or a link means."""
        if not isinstance(given, list):
            return given
        if (link := self.linked(given)) is None:
            return Unknown("a link that leads nowhere")
        node, output = link
        key = (node.name, output)
        if key in self._found:
            return self._found[key]
        if key in self._open or len(self._open) >= DEEPEST:
            return Unknown("nodes in a circle" if key in self._open else f"more than {DEEPEST} nodes in a row")
        self._open.append(key)
        try:
            meaning = self.table.get(node.kind)
            found = Unknown(f"the node {node.kind[:60]}") if meaning is None else meaning(At(node, output, self))
        finally:
            self._open.pop()
        self._found[key] = found
        return found

    def upstream(self, start: Node) -> Iterator[Node]:
        """A node and all that lead into it, the nearest first."""
        waiting, seen = [start], {start.name}
        while waiting:
            node = waiting.pop(0)
            yield node
            for value in node.inputs.values():
                link = self.linked(value)
                if link is not None and link[0].name not in seen:
                    seen.add(link[0].name)
                    waiting.append(link[0])
