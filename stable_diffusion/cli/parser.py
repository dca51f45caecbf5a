"""argparse as both commands use it: how words are spelled, helped with, completed and refused."""

import argparse
import copy
import sys
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from typing import Any, NoReturn

from ..jobs.kinds import OPTION_ROWS
from ..jobs.model import MODEL_ROWS
from ..jobs.view import VIEW_ROWS
from ..presets import DEFAULT_MODEL, PRESETS
from ..settings import ROWS
from ..values import line
from .guesses import answer, unquoted

Reader = Callable[[str], Any]

DECLARED = {**MODEL_ROWS, **VIEW_ROWS, **OPTION_ROWS, **ROWS}

# The first page of the help, in this order and in a line each; all options are on the second.
EVERYDAY = {
    "model": f"which model paints (default: {DEFAULT_MODEL}); --help all lists them",
    "strength": "how much may change: 0 nothing, 1 nearly everything",
    "mask": "repaint only what is white in this picture",
    "negative_prompt": "what the picture should not show",
    "seed": "the same seed gives the same picture",
    "n_images": "how many pictures to make",
    "steps": "steps from noise to picture; more are slower and finer",
    "cfg": "how closely to follow the prompt, usually 5 to 10",
    "width": "of the picture; --height likewise",
    "output": "where the picture goes (default: out.png)",
    "replay": "make the picture in this file again, with any changes",
    "perturb": "make a variation: 0.05 nearly the same, 1 another picture",
    "show_denoising": "show every N-th step too",
    "generate_triangle": "all steps at many strengths, as one sheet",
    "plan": "print what would be done, and stop",
    "help": "this page; --help all shows every option",
}


def _retold(action: argparse.Action, text: str) -> argparse.Action:
    """The same option with another help text, and its longest name alone."""
    other = copy.copy(action)
    other.help, other.option_strings = text, action.option_strings[-1:]
    return other


class Formatter(argparse.RawDescriptionHelpFormatter):
    """Names the value of an option once, and leaves room for long names."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=26)

    def _format_action_invocation(self, action: argparse.Action) -> str:
        if not action.option_strings:
            return action.dest.upper()
        default = action.dest.upper()
        value = "" if action.nargs == 0 else f" {self._format_args(action, default)}"
        return ", ".join(action.option_strings) + value


class Parser(argparse.ArgumentParser):
    """Takes every option with hyphens and with underscores, but shows one of the spellings."""

    def __init__(self, description: str, examples: Sequence[str]) -> None:
        self._presets = "\n".join(f"  {name:18} {preset.about}" for name, preset in PRESETS.items())
        self._examples = "\n".join(f"  {example}" for example in examples)
        super().__init__(
            description=description,
            formatter_class=Formatter,
            allow_abbrev=False,
            add_help=False,
        )

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        spelled = {s.replace("_", "-"): s for s in self._option_string_actions if s.startswith("--")}

        def ours(word: str) -> str:
            name, equals, value = word.partition("=")
            return spelled.get(name.replace("_", "-"), name) + equals + value if word.startswith("--") else word

        words = list(sys.argv[1:] if args is None else args)
        end = words.index("--") if "--" in words else len(words)
        return super().parse_known_args([*map(ours, words[:end]), *words[end:]], namespace)

    def _spellings(self) -> list[str]:
        return [name.replace("_", "-") for name in self._option_string_actions if name.startswith("--")]

    def format_usage(self) -> str:
        positional = " ".join(action.dest.upper() for action in self._actions if not action.option_strings)
        return f"usage: {self.prog} {positional} [options]\n"

    def format_help(self, everything: bool = False) -> str:
        """The everyday options with two examples, on one screen; or everything, in groups."""
        formatter = self._get_formatter()
        formatter.add_text(self.description)
        groups = [(group.title, group._group_actions) for group in self._action_groups]
        if not everything:
            known: dict[str, argparse.Action] = {}
            for action in self._actions:
                known.setdefault(action.dest, action)
            everyday = [_retold(known[name], text) for name, text in EVERYDAY.items() if name in known]
            groups = [(None, self._get_positional_actions()), ("everyday options", everyday)]
        for title, actions in groups:
            if actions:
                formatter.start_section(None if title == "positional arguments" else title)
                formatter.add_arguments(actions)
                formatter.end_section()
        if everything:
            formatter.add_text(f"models that have a name:\n{self._presets}")
            formatter.add_text(
                "Where no default is named here, it is the model's own. Options can be written with - or _ between\n"
                "words, and a prompt that begins with -- after a word --."
            )
        else:
            formatter.add_text(f"examples:\n{self._examples}")
        return f"{self.format_usage()}\n{formatter.format_help()}"

    def error(self, message: str) -> NoReturn:
        """One line, and not the whole usage before it."""
        before, _, listed = message.partition("unrecognized arguments: ")
        words = listed.split() if not before else []
        if unquoted(words):
            message += ": put the prompt in quotes"
        for word in filter(lambda word: word.startswith("-"), words):
            near = get_close_matches(word.partition("=")[0].replace("_", "-"), self._spellings(), n=1)
            if said := answer(word):
                message += f"; {word.partition('=')[0]}: {said}"
            elif near:
                message += f"; did you mean {near[0]}?"
        self.exit(2, f"{self.prog}: {line(message)} (see {self.prog} --help)\n")


class Help(argparse.Action):
    """Prints a page of help, and ends."""

    def __call__(self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, *_: Any) -> None:
        assert isinstance(parser, Parser)
        print(parser.format_help(everything=values == "all"), end="")
        parser.exit()


class Completion(argparse.Action):
    """Prints a shell's completions of all options, and ends."""

    def __call__(self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, *_: Any) -> None:
        try:
            import shtab  # not at every start
        except ImportError:
            parser.error("--print-completion needs shtab: pip install shtab")
        for action in parser._actions:
            if action.metavar in ("FILE", "PNG") or action.dest == "image":
                action.complete = shtab.FILE  # type: ignore[attr-defined]
            if action.dest in DECLARED:
                action.choices = DECLARED[action.dest].kind.words or None
        print(shtab.complete(parser, shell=values))
        parser.exit()


class Once(argparse.Action):
    """Stores the value; the option may be named one time only, since the first file would be forgotten."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option: str | None = None
    ) -> None:
        if (before := getattr(namespace, self.dest)) is not None:
            raise argparse.ArgumentError(self, f"named twice, with {before!r:.80} and {values!r:.80}: name one file")
        setattr(namespace, self.dest, values)


class OrList(argparse.Action):
    """Stores the value; the word `list` prints what there is instead, and ends."""

    def __init__(self, *args: Any, listing: Callable[[], str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._listing = listing

    def __call__(self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, *_: Any) -> None:
        if values == "list":
            print(self._listing())
            parser.exit()
        setattr(namespace, self.dest, values)


def reading(read: Reader, besides: str | None = None) -> Reader:
    """A reader as argparse wants it, which shows its own sentence; one word besides is taken as it is."""

    def reader(word: str) -> Any:
        if word == besides:
            return word
        try:
            return read(word)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return reader
