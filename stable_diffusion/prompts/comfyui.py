"""ComfyUI's parentheses."""

from .pieces import Piece, Section, check_depth, finite_number, merged_pieces

_ESCAPED = {"\\(": "\ue000", "\\)": "\ue001"}  # of Unicode's private use, which no prompt needs


def comfyui(prompt: str) -> list[Section]:
    """ComfyUI's: (a) times 1.1, and (a:1.3) exactly 1.3 whatever is around it; backslashes before parentheses.

    A parenthesis without its partner is a word. Raises ValueError for more than 100 in one another.
    """
    for written, held in _ESCAPED.items():
        prompt = prompt.replace(written, held)
    return [merged_pieces(list(_weighed(prompt, 1.0, 0)))]


def _weighed(text: str, weight: float, depth: int) -> Section:
    check_depth(depth)
    pieces: Section = []
    for part in _outermost(text):
        if not (len(part) >= 2 and part[0] == "(" and part[-1] == ")"):
            for written, held in _ESCAPED.items():
                part = part.replace(held, written[1])
            pieces.append(Piece(part, weight))
            continue
        inside, colon, number = part[1:-1].rpartition(":")
        own = finite_number(number) if colon and inside else None
        if own is None:
            pieces += _weighed(part[1:-1], weight * 1.1, depth + 1)
        else:
            pieces += _weighed(inside, own, depth + 1)
    return pieces


def _outermost(text: str) -> list[str]:
    """A text cut where its outermost parentheses begin and end."""
    parts, start, depth = [], 0, 0
    for i, letter in enumerate(text):
        if letter == "(":
            if depth == 0 and i > start:
                parts.append(text[start:i])
                start = i
            depth += 1
        elif letter == ")":
            depth -= 1
            if depth == 0:
                parts.append(text[start : i + 1])
                start = i + 1
    return [*parts, text[start:]] if start < len(text) else parts
