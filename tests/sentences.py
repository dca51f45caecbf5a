"""What a person is told of a file or a word that is no good: one sentence, in plain words."""

import re

# What Python and the libraries say among themselves.
INTERNAL = re.compile(
    r"std::|bad_\w+|\w+Error\b|\w+Exception\b|Traceback|NoneType|has no attribute|object is not|is not subscriptable|"
    r"not iterable|unhashable|unpack|positional argument|keyword argument|argument of type|missing \d+ required|"
    r"\w\(\) (arg|takes|got|missing)|index out of|out of range|indices must|invalid literal|could not convert|"
    r"cannot convert|cannot reshape|division by zero|not supported between|unsupported operand|must be real number|"
    r"expected (str|bytes|int|float|a |an )|codec can't|surrogates|maximum recursion|Exceeds the limit|"
    r"^(error: )?''$|\(''\)|(^|: |\()\[\w+\] |<class |<function |\bobject at 0x|json\."
)


def check_sentence(text: str, *parts: str) -> None:
    """Assert that it is one sentence of a length that can be read, with these parts, and none of Python's own words.

    What is quoted from a file, or from a command line, may be anything.
    """
    own = text
    for part in parts:
        assert part in text, f"{part!r} is not in {text!r}"
        own = own.replace(part, "FILE")
    own = re.sub(r"(?<!\w)(['\"])(?:[^\\]|\\.)*?\1(?!\w)", "''", own)
    assert text and "\n" not in text and len(re.sub(r"\S{50,}", "", own)) <= 700, text
    assert not (found := INTERNAL.search(own)), f"{found!r} in {text!r}"
