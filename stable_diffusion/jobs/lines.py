"""Files of many prompts, each line of which is a run of one job."""

import csv
import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from ..devices import DEVICE, is_device
from ..prompts.flags import flags_of
from ..settings import ROWS, Settings, random_seed
from ..values import thawed
from .axes import READERS

SUFFIXES = (".txt", ".csv", ".jsonl")
MOST = 10_000  # lines
MOST_BYTES = 2**26


@dataclass(frozen=True)
class Line:
    """A line of a file, by its number from 1, and all settings of its run, or what it asks for."""

    name: str  # "prompts.txt, line 3"
    number: int
    settings: Settings


@dataclass(frozen=True)
class Asked:
    """What a line asks for."""

    name: str
    number: int
    given: Mapping[str, Any]


def read_lines(file: str) -> list[Asked]:
    """What a file asks for: a prompt a line, without blank lines and those that begin with #; - is standard input.

    A prompt may have AUTOMATIC1111's or kohya's flags: see prompts/flags.py. A .csv file has settings in columns, whose
    names are in its first line, and nothing where a cell is empty; each line of a .jsonl file is an object of settings.
    Raises ValueError, one sentence with the line, for what can't be read.
    """
    name, text = _text(file)
    reader = {".csv": _of_csv, ".jsonl": _of_jsonl}.get(Path(file).suffix.lower(), _of_text)
    found: list[Asked] = []
    for number, given in reader(name, text):
        if len(found) == MOST:
            raise ValueError(f"{name} has more than {MOST} prompts")
        if given.get("seed") == -1:
            given["seed"] = random_seed()
        found.append(Asked(f"{name}, line {number}", number, given))
    if not found:
        raise ValueError(f"{name} has no prompt")
    return found


def _text(file: str) -> tuple[str, str]:
    name = "standard input" if file == "-" else file
    if file != "-" and is_device(Path(file).expanduser()):
        raise ValueError(f"{file!r} {DEVICE}: --prompts - reads standard input")
    try:
        if file == "-":
            bytes_ = sys.stdin.buffer.read(MOST_BYTES + 1)  # which might never end
        else:
            with Path(file).expanduser().open("rb") as opened:
                bytes_ = opened.read(MOST_BYTES + 1)
    except (OSError, AttributeError, ValueError) as error:  # standard input that is closed
        why = getattr(error, "strerror", None) or "there is none"
        raise ValueError(f"{file} can't be read: {why}") from None
    if len(bytes_) > MOST_BYTES:
        raise ValueError(f"{name} has more than {MOST_BYTES >> 20} MB: split it into several files")
    try:
        return name, bytes_.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = bytes_.count(b"\n", 0, error.start) + 1
        raise ValueError(f"{name}, line {line} is no text in UTF-8") from None


_Found = Iterator[tuple[int, dict[str, Any]]]


def _of_text(name: str, text: str) -> _Found:
    for number, line in enumerate(text.splitlines(), start=1):
        if (prompt := line.strip()) and not prompt.startswith("#"):
            yield number, _of_flags(prompt, f"{name}, line {number}") or {"prompt": prompt}


def _of_flags(line: str, place: str) -> dict[str, Any]:
    """The settings of a line with flags; none: it has none. Raises ValueError."""
    try:
        flags = flags_of(line)
    except ValueError as error:
        raise ValueError(f"{place} {error}") from None
    given: dict[str, Any] = {}
    for flag, setting, text in flags:
        value = _read(setting, text, f"{place}, {flag}")
        if setting in given:  # batch_size and n_iter
            value = _check(setting, value * given[setting], place)
        given[setting] = value
    return given


def _of_csv(name: str, text: str) -> _Found:
    rows = csv.reader(text.splitlines(keepends=True), strict=True)
    columns: list[str] = []
    while True:
        first = rows.line_num + 1
        try:
            cells = next(rows, None)
        except csv.Error as error:
            raise ValueError(f"{name}, line {first}: {error}") from None
        if cells is None:
            return
        if not any(cell.strip() for cell in cells):
            continue
        if not columns:
            columns = [_setting(cell, f"{name}, line {first}") for cell in cells]
            if len(set(columns)) < len(columns):
                raise ValueError(f"{name}, line {first} has a column twice")
            continue
        if len(cells) > len(columns):
            raise ValueError(f"{name}, line {first} has {len(cells)} cells, and there are {len(columns)} columns")
        given = zip(columns, cells, strict=False)
        yield first, {column: _read(column, cell, f"{name}, line {first}") for column, cell in given if cell.strip()}


class _Twice(Exception):
    """A name that an object has twice."""


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, value in pairs:
        if name in values:
            raise _Twice(repr(name[:40]))
        values[name] = value
    return values


def _of_jsonl(name: str, text: str) -> _Found:
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        place = f"{name}, line {number}"
        try:
            values = json.loads(line, object_pairs_hook=_once)
        except _Twice as twice:
            raise ValueError(f"{place} has {twice} twice: leave one out") from None
        except (ValueError, RecursionError):
            raise ValueError(f"{place} is no JSON") from None
        if not isinstance(values, dict):
            raise ValueError(f"{place} is no object of settings")
        given = thawed({_setting(key, place): value for key, value in values.items()}, ROWS)
        for setting, value in given.items():
            _check(setting, value, place)
        yield number, given


def _setting(word: str, place: str) -> str:
    """The setting that a column is called after. Raises ValueError."""
    name = word.strip().lower().replace("-", "_")
    if name not in ROWS:
        near = get_close_matches(name, ROWS, n=3, cutoff=0.5)
        instead = f"did you mean {' or '.join(near)}?" if near else "prompt, seed, steps and cfg are some"
        raise ValueError(f"{place}: there is no setting {word.strip()[:40]!r}: {instead}")
    return name


def _read(setting: str, cell: str, place: str) -> Any:
    """The value in a cell. Raises ValueError."""
    words = cell.strip()
    if isinstance(ROWS[setting].default, bool):
        words = words.lower()
        if words not in ("true", "false"):
            raise ValueError(f"{place}: {setting} is {cell[:40]!r}: it must be true or false")
    try:
        value = READERS[setting](words)
    except ValueError as error:
        raise ValueError(f"{place}: {setting}: {error}") from None
    return _check(setting, value, place)


def _check(setting: str, value: Any, place: str) -> Any:
    if value is None and ROWS[setting].default is None:
        return value
    fault = ROWS[setting].kind.fault(value)
    if fault and not (setting == "seed" and value == -1):
        raise ValueError(f"{place}: {setting} is {value!r:.60}: it must be {fault}")
    if setting in ("sampler", "spacing"):
        try:
            READERS[setting](value)
        except ValueError as error:
            raise ValueError(f"{place}: {error}") from None
    return value
