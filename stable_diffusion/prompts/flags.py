"""Lines of prompt files that hold flags: AUTOMATIC1111's, which begin with one, and kohya's, which end with some."""

import re
from difflib import get_close_matches

from ..settings import ROWS

# AUTOMATIC1111's flags that are called otherwise here; all other settings are flags of their own name.
_A1111 = {
    "cfg_scale": "cfg",
    "sampler_name": "sampler",
    "subseed": "variation_seed",
    "subseed_strength": "variation_strength",
    "batch_size": "n_images",
    "n_iter": "n_images",
}
_FLAGS = {name: name for name in ROWS} | _A1111
_KOHYA = {
    "n": "negative_prompt",
    "d": "seed",
    "s": "steps",
    "w": "width",
    "h": "height",
    "l": "cfg",
    "ss": "sampler",
}
# What no line can say here, and what to do instead.
_ELSEWHERE = {
    "sd_model": "name the model with --model on the command line",
    "styles": "write a style's words into the prompt",
    "outpath_samples": "name the pictures with --output on the command line",
    "outpath_grids": "name the pictures with --output on the command line",
    "sampler_index": "name the sampler with --sampler_name",
}
_SPACES = " \t\r\n"  # between words
_WORD = re.compile(rf"""(?:[^{_SPACES}"'\\]+|\\.|'[^']*'|"(?:[^"\\]|\\.)*")+""", re.DOTALL)
_QUOTED = re.compile(r"""\\(.)|'([^']*)'|"((?:[^"\\]|\\.)*)\"""", re.DOTALL)
_BEHIND = re.compile(r" --(?=[A-Za-z])")  # kohya's flags behind a prompt
_AS_WORDS = "words that are no flag belong in a .csv or .jsonl file"

Flag = tuple[str, str, str]  # the flag as it is written, the setting that it names, and its text


def flags_of(line: str) -> list[Flag]:
    """The flags of a line without spaces around it, of which the prompt may be one; none: it is all prompt.

    A line that begins with two hyphens is AUTOMATIC1111's, with quotes as a shell has them; one in which a flag follows
    a space is kohya's, without quotes. Raises ValueError, the rest of a sentence.
    """
    found = _of_a1111(line) if line.startswith("--") else _of_kohya(line)
    seen: dict[str, str] = {}
    for flag, setting, _ in found:
        if setting in seen and {flag, seen[setting]} != {"--batch_size", "--n_iter"}:
            other = f" and {flag}, which are the same" if flag != seen[setting] else " twice"
            raise ValueError(f"has {seen[setting]}{other}: leave one out")
        seen[setting] = flag
    return found


def _of_a1111(line: str) -> list[Flag]:
    found: list[Flag] = []
    words = shell_words(line)
    at = 0
    while at < len(words):
        flag = words[at]
        end = next((i for i in range(at + 1, len(words)) if words[i].startswith("--")), len(words))
        name = flag.removeprefix("--").replace("-", "_").lower()
        if name not in _FLAGS:
            raise ValueError(_unknown(flag, name))
        values = words[at + 1 : end]
        setting = _FLAGS[name]
        if not values:
            raise ValueError(f"has {flag} without a value: write one behind it, or leave it out")
        if len(values) > 1 and setting not in ("prompt", "negative_prompt"):
            raise ValueError(f"has {values[1][:40]!r} behind the value of {flag}: put texts of several words in quotes")
        found.append((f"--{name}", setting, " ".join(values)))
        at = end
    return found


def _of_kohya(line: str) -> list[Flag]:
    prompt, *parts = _BEHIND.split(line)
    if not parts:
        return []
    found = [("the prompt", "prompt", prompt.strip())]
    for part in parts:
        flag, _, text = part.partition(" ")
        name = flag.lower()
        if name not in _KOHYA:
            raise ValueError(_unknown(f"--{flag}", name.replace("-", "_"), behind=True))
        if not text.strip():
            raise ValueError(f"has --{flag} without a value: write one behind it, or leave it out")
        found.append((f"--{name}", _KOHYA[name], text.strip()))
    return found


def _unknown(flag: str, name: str, behind: bool = False) -> str:
    """The rest of a sentence on a flag that is not read."""
    shown = repr(flag[:40])
    if name in _ELSEWHERE:
        return f"has {shown}, which a line cannot say here: {_ELSEWHERE[name]}"
    if behind and name in _FLAGS:
        return f"has {shown} behind a prompt: begin the line with --prompt, and put the prompt in quotes"
    if behind:
        known = ", ".join(f"--{name}" for name in _KOHYA)
        return f"has {shown}, which is no flag that is read behind a prompt, as {known} are: {_AS_WORDS}"
    if name in _KOHYA:
        return f"begins with flags, and {shown} is read behind a prompt alone: write the prompt first"
    near = get_close_matches(name[:40], _FLAGS, n=2, cutoff=0.6)
    instead = f"did you mean {' or '.join(f'--{name}' for name in near)}?" if near else _AS_WORDS
    return f"has {shown}, which is no flag that is read here: {instead}"


def shell_words(line: str) -> list[str]:
    """The words of a line, quoted as in a shell: 'all literal', "all but backslashes and quotes", a\\ b.

    So Python's shlex.split reads them, which takes quadratic time. Raises ValueError, the rest of a sentence.
    """
    words = []
    at = _end_of_spaces(line, 0)
    while at < len(line):
        found = _WORD.match(line, at)
        end = found.end() if found else at
        following = _end_of_spaces(line, end)
        if found is None or end == following < len(line):
            if line[end] == "\\":
                raise ValueError("ends with a backslash, which stands before no sign: leave it out, or write two")
            raise ValueError(f"has a quote that is never closed, {line[end:][:20]!r}: put such texts in double quotes")
        words.append(_QUOTED.sub(_unquoted, found.group()))
        at = following
    return words


def _end_of_spaces(line: str, at: int) -> int:
    while at < len(line) and line[at] in _SPACES:
        at += 1
    return at


def _unquoted(found: re.Match[str]) -> str:
    escaped, single, double = found.groups()
    return escaped or single or re.sub(r'\\(["\\])', r"\1", double or "")
