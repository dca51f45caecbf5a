"""A look at a pickle's program before any of it runs: what it would build, and whether a checkpoint needs that.

Python's unpickler trusts its input: a few hundred bytes can make it hash a tree without end, nest a million tuples, or
ask for a memo of 16 GB. So the program is walked here first, with kinds and depths in the place of values.
"""

import pickletools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

MOST_OPCODES = 600_000  # the checkpoint of a large model, its optimizer and averages included, has some 300,000
DEEPEST = 50  # a table in a table in a list; PyTorch's own nest five deep
LONGEST_KEY = 16  # entries of a tuple that is a key, or that a storage is named by
LONGEST_NUMBER = 16  # bytes of a whole number


class Unneeded(ValueError):
    """What no checkpoint needs, the rest of a sentence."""


@dataclass
class _Value:
    """What would lie on the stack."""

    kind: str  # atom, tuple, name (a class or function) or thing
    depth: int = 0  # of what it holds
    plain: bool = True  # a tuple of atoms and names alone
    size: int = 0  # of a tuple

    @property
    def names_something(self) -> bool:
        """Can it be a key, or name a storage, at the cost of a few comparisons?"""
        return self.kind in ("atom", "name") or (self.kind == "tuple" and self.plain and self.size <= LONGEST_KEY)


_ATOM, _NAME = _Value("atom"), _Value("name")
_ATOMS = {
    "NONE", "NEWTRUE", "NEWFALSE", "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE",
    "SHORT_BINUNICODE", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES",
}  # fmt: skip
_TABLES = {"EMPTY_DICT", "EMPTY_LIST", "EMPTY_SET"}
_TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_PUTS, _GETS = {"BINPUT", "LONG_BINPUT"}, {"BINGET", "LONG_BINGET"}


class _Stack:
    """The unpickler's stack and memo, of kinds alone."""

    def __init__(self) -> None:
        self.values: list[_Value] = []
        self.marks: list[int] = []
        self.memo: dict[int, _Value] = {}

    def pop(self, count: int = 1) -> list[_Value]:
        least = self.marks[-1] if self.marks else 0
        if len(self.values) - least < count:
            raise Unneeded("its pickle uses a value that it never made")
        first = len(self.values) - count
        taken = self.values[first:]
        del self.values[first:]
        return taken

    def since_mark(self) -> list[_Value]:
        if not self.marks:
            raise Unneeded("its pickle uses a value that it never made")
        mark = self.marks.pop()
        taken = self.values[mark:]
        del self.values[mark:]
        return taken

    def push(self, value: _Value) -> None:
        if value.depth > DEEPEST:
            raise Unneeded(f"its pickle nests values more than {DEEPEST} deep")
        self.values.append(value)

    def hold(self, items: list[_Value]) -> None:
        """Put items into the thing on top."""
        (holder,) = self.pop()
        if holder.kind != "thing":
            raise Unneeded("its pickle fills something that is neither a table nor a list")
        holder.depth = max([holder.depth, *(1 + item.depth for item in items)])
        self.push(holder)

    def tuple_of(self, items: list[_Value]) -> None:
        plain = all(item.kind in ("atom", "name") for item in items)
        self.push(_Value("tuple", 1 + max((item.depth for item in items), default=0), plain, len(items)))

    def set_items(self, items: list[_Value]) -> None:
        if len(items) % 2 or not all(key.names_something for key in items[::2]):
            raise Unneeded("its pickle has keys other than words, numbers and short tuples")
        self.hold(items)


def _add_items(stack: _Stack, items: list[_Value]) -> None:
    if not all(item.names_something for item in items):
        raise Unneeded("its pickle has a set of other things than words and numbers")
    stack.hold(items)


def _call(stack: _Stack) -> None:
    function, arguments = stack.pop(2)
    if function.kind != "name" or arguments.kind != "tuple":
        raise Unneeded("its pickle calls something that has no name")
    stack.push(_Value("thing", arguments.depth))


def _storage(stack: _Stack) -> None:
    (name,) = stack.pop()
    if not name.names_something:
        raise Unneeded("its pickle refers to a storage by something other than a few words")
    stack.push(_ATOM)


def _state(stack: _Stack) -> None:
    (state,) = stack.pop()
    stack.hold([state])


def _named(stack: _Stack) -> None:
    stack.pop(2)
    stack.push(_NAME)


_DO: dict[str, Callable[[_Stack], object]] = {
    "MARK": lambda stack: stack.marks.append(len(stack.values)),
    "TUPLE": lambda stack: stack.tuple_of(stack.since_mark()),
    "GLOBAL": lambda stack: stack.push(_NAME),
    "STACK_GLOBAL": _named,
    "REDUCE": _call,
    "NEWOBJ": _call,
    "BUILD": _state,
    "BINPERSID": _storage,
    "APPEND": lambda stack: stack.hold(stack.pop()),
    "SETITEM": lambda stack: stack.set_items(stack.pop(2)),
    "POP": lambda stack: stack.pop(),
    "POP_MARK": lambda stack: stack.since_mark(),
}
_FILL: dict[str, Callable[[_Stack, list[_Value]], None]] = {
    "APPENDS": _Stack.hold,
    "SETITEMS": _Stack.set_items,
    "ADDITEMS": _add_items,
}


def check_program(program: bytes) -> None:
    """Walk a pickle's program without running it. Raises Unneeded for what no checkpoint needs, in a second at most.

    What passes builds things of its own size: keys are words, numbers and short tuples of them, nothing nests deeply,
    and the memo has as many places as are used. ValueError: it is damaged.
    """
    stack = _Stack()
    argument: Any
    for count, (opcode, argument, _) in enumerate(pickletools.genops(program)):
        name = opcode.name
        if count >= MOST_OPCODES:
            raise Unneeded(f"its pickle has more than {MOST_OPCODES} instructions")
        if name in _ATOMS:
            if name == "LONG1" and abs(int(argument)).bit_length() > 8 * LONGEST_NUMBER:
                raise Unneeded("its pickle holds a number of more than 16 bytes")
            stack.push(_ATOM)
        elif name in _TABLES:
            stack.push(_Value("thing"))
        elif name in _TUPLES:
            stack.tuple_of(stack.pop(_TUPLES[name]))
        elif name in _PUTS or name == "MEMOIZE":
            place = len(stack.memo) if name == "MEMOIZE" else int(argument)
            if place > count or not stack.values:
                raise Unneeded(f"its pickle asks for {place} places in its memory")
            stack.memo[place] = stack.values[-1]
        elif name in _GETS:
            if (value := stack.memo.get(int(argument))) is None:
                raise Unneeded("its pickle uses a value that it never made")
            stack.push(value)
        elif name in _FILL:
            items = stack.since_mark()
            _FILL[name](stack, items)
        elif name in _DO:
            _DO[name](stack)
        elif name == "STOP":
            if len(stack.values) != 1 or stack.marks:
                raise Unneeded("its pickle ends in the middle")
        elif name not in ("PROTO", "FRAME"):
            raise Unneeded(f"its pickle has an instruction ({name}) that PyTorch does not write")
