"""What both commands do around a job."""

import warnings
from collections.abc import Generator
from pathlib import Path

import pytest
from tqdm import tqdm

from stable_diffusion.cli.terminal import run
from stable_diffusion.jobs.events import Answer, Event, Note, Progress, Written

Job = Generator[Event, None, None]


def raising(error: BaseException) -> int:
    def job() -> Job:
        yield Progress(0, 1)
        raise error

    return run(job)


@pytest.mark.parametrize(
    ("error", "status", "words"),
    [
        (ValueError("strength is 2"), 1, "error: strength is 2"),
        (FloatingPointError("not a number"), 1, "error: not a number"),
        (OSError("disk full"), 1, "error: disk full"),
        (RuntimeError("[metal::malloc] too much"), 1, "error: [metal::malloc] too much"),
        (MemoryError(), 1, "error: there is not enough memory"),
        (KeyboardInterrupt(), 130, "stopped"),
    ],
)
def test_what_goes_wrong_is_one_sentence_and_a_status(
    error: BaseException, status: int, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert raising(error) == status
    out, err = capsys.readouterr()
    assert words in err and "Traceback" not in err and out == ""


def test_a_mistake_of_ours_is_not_hidden() -> None:
    with pytest.raises(TypeError):
        raising(TypeError("ours"))


def test_warnings_are_notes_and_only_while_it_runs(capsys: pytest.CaptureFixture[str]) -> None:
    def job() -> Job:
        warnings.warn("the prompt is too long", stacklevel=1)
        yield Progress(0, 1)

    before = warnings.showwarning
    assert run(job) == 0 and run(job) == 0  # told each time
    assert capsys.readouterr().err.count("note: the prompt is too long\n") == 2
    assert warnings.showwarning is before


def test_what_a_strangers_file_says_cannot_move_the_cursor(capsys: pytest.CaptureFixture[str]) -> None:
    def job() -> Job:
        yield Note("note: a\x1b[2Jb\nerror: c é日")
        raise ValueError("d\r\u202ee")

    assert run(job) == 1
    assert capsys.readouterr().err == "note: a\\x1b[2Jb\\nerror: c é日\nerror: d\\r\\u202ee\n"


def test_what_was_asked_for_goes_one_way_and_what_is_said_besides_another(capsys: pytest.CaptureFixture[str]) -> None:
    def job() -> Job:
        yield Note("note: small")
        yield Answer("4 steps")
        yield Progress(0, 2)
        yield Progress(2, 2)
        yield Written(Path("a.png"))

    assert run(job) == 0
    out, err = capsys.readouterr()
    assert out == "4 steps\na.png\n" and "note: small\n" in err


@pytest.mark.parametrize("inside", [True, False], ids=["in the job", "while it is shown"])
def test_a_job_that_is_stopped_says_what_it_finishes(
    inside: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def job() -> Job:
        try:
            yield Answer("one")
            if inside:
                raise KeyboardInterrupt
            yield Answer("never")
        except KeyboardInterrupt:
            yield Answer("two")
            yield Answer("three")
            raise

    from stable_diffusion.cli import terminal

    said = terminal.tell

    def pressed(text: str) -> None:
        said(text)
        if text == "one" and not inside:
            raise KeyboardInterrupt

    monkeypatch.setattr(terminal, "tell", pressed)
    assert run(job) == 130
    out, err = capsys.readouterr()
    assert out == "one\ntwo\nthree\n" and "stopped" in err


def test_a_signal_that_comes_while_a_line_is_said_stops_the_job(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Late:
        """A lock that a signal comes in place of, and that is let go all the same."""

        calls = 0

        def acquire(self, *_: object) -> None:
            self.calls += 1
            if self.calls == 1:
                raise KeyboardInterrupt

        def release(self) -> None:
            self.calls += 1
            if self.calls == 2:
                raise RuntimeError("cannot release un-acquired lock")

    def job() -> Job:
        try:
            yield Note("first")
        except KeyboardInterrupt:
            yield Note("kept")
            raise

    monkeypatch.setattr(tqdm, "_lock", Late())
    assert run(job) == 130
    assert capsys.readouterr().err.splitlines()[-2:] == ["kept", "stopped"]
