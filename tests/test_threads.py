"""Several threads: one model, or several, give each of them the pictures that it would have had alone."""

import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import mlx.core as mx
import numpy as np
import pytest

from stable_diffusion import Settings, StableDiffusion
from stable_diffusion.compute.streams import exclusive, one_at_a_time, step_by_step
from stable_diffusion.diffusion.samplers import Step

IMAGE = mx.zeros((64, 64, 3))


def asked(seed: int, sampler: str = "euler_a") -> Settings:
    return Settings(prompt="a house", seed=seed, steps=3, width=64, height=64, sampler=sampler)


def elsewhere(*work: Callable[[], object]) -> list[object]:
    """What functions return, each in a thread of its own, all at once."""
    with ThreadPoolExecutor(len(work)) as pool:
        return [future.result() for future in [pool.submit(one) for one in work]]


@pytest.fixture(scope="module")
def alone() -> dict[int, np.ndarray]:
    sd = StableDiffusion("demo")
    return {seed: np.array(sd.txt2img(asked(seed))) for seed in (1, 2)}


@pytest.mark.parametrize("low_memory", [False, True])
def test_a_model_made_in_one_thread_paints_in_another_and_back(low_memory: bool, alone: dict[int, np.ndarray]) -> None:
    sd = StableDiffusion("demo", low_memory=low_memory)
    (picture,) = elsewhere(lambda: sd.txt2img(asked(1)))
    assert np.array_equal(np.array(picture), alone[1])
    assert np.array_equal(np.array(sd.txt2img(asked(2))), alone[2])


@pytest.mark.parametrize("low_memory", [False, True])
def test_two_threads_at_one_model_get_their_own_pictures(low_memory: bool, alone: dict[int, np.ndarray]) -> None:
    sd = StableDiffusion("demo", low_memory=low_memory)
    pictures = elsewhere(lambda: sd.txt2img(asked(1)), lambda: sd.txt2img(asked(2)))
    assert all(np.array_equal(np.array(one), alone[seed]) for seed, one in enumerate(pictures, start=1))


def test_two_threads_at_two_models_get_their_own_pictures(alone: dict[int, np.ndarray]) -> None:
    def painted(seed: int) -> mx.array:
        return StableDiffusion("demo").txt2img(asked(seed))

    pictures = elsewhere(lambda: painted(1), lambda: painted(2))
    assert all(np.array_equal(np.array(one), alone[seed]) for seed, one in enumerate(pictures, start=1))


@pytest.mark.parametrize("sampler", ["dpmpp_2m", "euler_a", "heun"])
def test_every_step_may_be_taken_in_another_thread(sampler: str) -> None:
    sd = StableDiffusion("demo")
    here = [np.array(step.x) for step in sd.sample(asked(1, sampler), IMAGE)]
    steps, there = sd.sample(asked(1, sampler), IMAGE + 0.0), []
    for _ in here:
        (step,) = elsewhere(steps.__next__)
        assert isinstance(step, Step)
        there.append(np.array(step.x))
    assert all(np.array_equal(a, b) for a, b in zip(here, there, strict=True))


def test_two_walks_take_turns_in_two_threads() -> None:
    sd = StableDiffusion("demo")

    def walked(seed: int) -> list[np.ndarray]:
        return [np.array(step.x) for step in sd.sample(asked(seed))]

    wanted = [walked(1), walked(2)]
    found = elsewhere(lambda: walked(1), lambda: walked(2))
    assert all(np.array_equal(a, b) for w, f in zip(wanted, found, strict=True) for a, b in zip(w, f, strict=True))  # type: ignore[call-overload]


def test_a_triangle_made_in_one_thread_is_looked_at_in_another() -> None:
    sd = StableDiffusion("demo")
    (rows,) = elsewhere(lambda: sd.triangle(asked(1), IMAGE, [0.5, 1.0]))
    assert [[np.isfinite(np.array(step.x)).all() for step in row] for row in rows]  # type: ignore[attr-defined]
    assert sd.decode(rows[0][0].x).shape == (1, 64, 64, 3)  # type: ignore[index]


def test_what_runs_exclusively_keeps_others_waiting() -> None:
    seen: list[str] = []
    inside, go_on = threading.Event(), threading.Event()

    def first() -> None:
        with exclusive(), exclusive():  # again in the same thread
            inside.set()
            go_on.wait(5)
            seen.append("first")

    thread = threading.Thread(target=first)
    thread.start()
    assert inside.wait(5)
    other = threading.Thread(target=one_at_a_time(seen.append), args=["second"])
    other.start()
    assert seen == []
    go_on.set()
    thread.join()
    other.join()
    assert seen == ["first", "second"]


def test_an_iterator_lets_others_in_between_items_and_closes_what_it_was_given() -> None:
    closed = []

    def items() -> "object":
        try:
            yield from range(3)
        finally:
            closed.append(True)

    steps = step_by_step(items())  # type: ignore[arg-type, var-annotated]
    assert next(steps) == 0
    elsewhere(one_at_a_time(list))  # would wait for ever if the lock was kept
    steps.close()  # type: ignore[attr-defined]
    assert closed == [True]


def test_a_process_that_painted_in_threads_ends_well() -> None:
    program = """
import threading
from stable_diffusion import Settings, StableDiffusion
sd = StableDiffusion("demo")
asked = Settings(prompt="a", seed=1, steps=1, width=64, height=64)
work = [threading.Thread(target=sd.txt2img, args=[asked]) for _ in range(2)]
for one in work: one.start()
for one in work: one.join()
"""
    for _ in range(3):
        assert subprocess.run([sys.executable, "-c", program], timeout=120).returncode == 0
