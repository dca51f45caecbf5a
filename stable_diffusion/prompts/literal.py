"""Words in other tools' prompts that are read as plain words here."""

import re

from .editing import edited

# What other tools' prompts may hold besides words.
_WEIGHTS = r"\([^()]{1,200}:\s*[\d.]+\s*\)"
_FILES = r"<(?:lora|hypernet|lyco):[^>]{1,200}>"
_EDITING = r"\[[^\[\]]{0,200}:[^\[\]:]{0,200}:\s*[\d.]+\s*\]"
# Of these, what is read as words all the same, by the syntax that a prompt is read in.
_LITERAL = {
    "plain": re.compile(rf"{_WEIGHTS}|{_EDITING}|{_FILES}|\bBREAK\b"),
    "a1111": re.compile(r"<hypernet:[^>]{1,200}>"),
    "comfyui": re.compile(_FILES),
}
_GIVEN_UP = re.compile(rf"{_EDITING}|\[[^\[\]:]{{0,200}}:\s*[\d.]+\s*\]|\[[^\[\]|]{{0,200}}\|[^\[\]]{{0,200}}\]")
_NEGATIVE = re.compile(rf"{_FILES}|\bAND\b")  # in AUTOMATIC1111's negative prompts


def literal(prompt: str, syntax: str, negative: bool = False) -> list[str]:
    """What means something in other tools' prompts, and is taken literally where a prompt is read in this syntax."""
    pattern = _NEGATIVE if negative and syntax == "a1111" else _LITERAL[syntax]
    found = [match.group() for match in pattern.finditer(prompt)]
    if syntax == "a1111" and edited(prompt, 2) == [(2, prompt)]:
        found += [match.group() for match in _GIVEN_UP.finditer(prompt)]
    return list(dict.fromkeys(found))
