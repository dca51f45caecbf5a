"""Prompts that change on the way, and several at once: AUTOMATIC1111's [a:b:0.5], [a|b] and AND."""

import contextlib
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stable_diffusion import Settings, StableDiffusion
from stable_diffusion.pipeline.memory import working
from stable_diffusion.prompts.editing import NEGATIVE_PROMPTS, PROMPTS, Part, composed, edited
from tests.commands import SD1
from tests.oracles import largest_difference
from tests.test_properties import often

DATA = Path(__file__).parent / "data"
TINY = Settings(prompt="a house", prompt_syntax="a1111", seed=3, steps=4, cfg=4.0, width=32, height=32, sampler="euler")


@pytest.fixture(scope="module")
def sd() -> StableDiffusion:
    return StableDiffusion(SD1, float16=False)


TEN = range(1, 11)


@pytest.mark.parametrize(
    ("text", "spans"),
    [
        # The examples in AUTOMATIC1111's prompt_parser.py, for 10 steps.
        ("test", [(10, "test")]),
        ("a [b:3]", [(3, "a "), (10, "a b")]),
        ("a [b: 3]", [(3, "a "), (10, "a b")]),
        ("a [[[b]]:2]", [(2, "a "), (10, "a [[b]]")]),
        ("[(a:2):3]", [(3, ""), (10, "(a:2)")]),
        ("a [b : c : 1] d", [(1, "a b  d"), (10, "a  c  d")]),
        ("a[b:[c:d:2]:1]e", [(1, "abe"), (2, "ace"), (10, "ade")]),
        ("a [unbalanced", [(10, "a [unbalanced")]),
        ("a [b:.5] c", [(5, "a  c"), (10, "a b c")]),
        ("((a][:b:c [d:3]", [(3, "((a][:b:c "), (10, "((a][:b:c d")]),
        ("[a|(b:1.1)]", [(i, "a" if i % 2 else "(b:1.1)") for i in TEN]),
        ("[fe|]male", [(i, "female" if i % 2 else "male") for i in TEN]),
        ("[fe|||]male", [(i, "female" if i % 4 == 1 else "male") for i in TEN]),
        # A text that leaves, numbers at and beyond the ends, and with a point or without.
        ("a [b::0.3]", [(3, "a b"), (10, "a ")]),
        ("[a:b:1.0]", [(10, "a")]),
        ("[a:b:25]", [(10, "a")]),
        ("[a:b:1]", [(1, "a"), (10, "b")]),
        ("[a:b:0]", [(10, "b")]),
        ("[a:b:-0.5]", [(10, "b")]),
        ("[a:b:0.25][c:d:0.29]", [(2, "ac"), (10, "bd")]),
        # Within one another.
        ("[a|[b:c:0.5]]", [(i, "a" if i % 2 else "b" if i <= 5 else "c") for i in TEN]),
        ("([a:b:2]:1.3)", [(2, "(a:1.3)"), (10, "(b:1.3)")]),
        ("[[a]:(b):2]", [(2, "[a]"), (10, "(b)")]),
        # Escapes stay for the weights to read; what has no number, or a bar or a backslash alone, is literal.
        (r"[a\:\|\]:b:0.2]", [(2, r"a\:\|\]"), (10, "b")]),
        ("[a:b:c]", [(10, "[a:b:c]")]),
        ("a | b [c:d:0.5]", [(10, "a | b [c:d:0.5]")]),
        ("[c:d:0.5] \\", [(10, "[c:d:0.5] \\")]),
    ],
)  # fmt: skip
def test_a_text_is_a_function_of_the_step(text: str, spans: list[tuple[int, str]]) -> None:
    assert list(edited(text, 10)) == spans


def test_texts_between_ands_have_weights_of_their_own() -> None:
    assert [(p.weight, p.spans[0][1]) for p in composed("a cat :1.2 AND\na [dog]:-.5 AND BRAND (x:2)", 4)] == [
        (1.2, "a cat"), (-0.5, "\na [dog]"), (1.0, " BRAND (x:2)")
    ]  # fmt: skip
    assert composed("a house", 4) == [Part([(4, "a house")])]
    assert composed("a [b:c:0.5]:0.7", 4) == [Part([(2, "a b"), (4, "a c")], 0.7)]
    # A negative prompt is never composed, and other syntaxes know none of it.
    assert NEGATIVE_PROMPTS["a1111"]("a AND [b:c:0.5]:0.7", 4) == [Part([(2, "a AND b:0.7"), (4, "a AND c:0.7")])]
    for syntax in ("plain", "comfyui"):
        assert PROMPTS[syntax]("a AND [b:c:0.5]:0.7", 4) == [Part([(4, "a AND [b:c:0.5]:0.7")])]


SIGNS = [*"ab ,:()[]|\\.1-\n", "AND", "0.5", "[a:b:0.5]", "[a|b]"]
MARKS = st.lists(st.sampled_from(SIGNS), max_size=60).map("".join)


@often
@given(prompt=st.one_of(st.text(max_size=80), MARKS), calls=st.integers(1, 12))
def test_any_text_becomes_texts_for_all_calls(prompt: str, calls: int) -> None:
    for kinds in (PROMPTS, NEGATIVE_PROMPTS):
        for part in kinds["a1111"](prompt, calls):
            lasts = [last for last, _ in part.spans]
            assert lasts == sorted(set(lasts)) and lasts[-1] == calls and lasts[0] >= 1
            assert all(set(text) <= set(prompt) for _, text in part.spans)


@often
@given(prompt=st.text(alphabet=st.characters(exclude_characters="[]|:\\")), calls=st.integers(1, 12))
def test_a_text_without_these_signs_is_itself(prompt: str, calls: int) -> None:
    if "AND" not in prompt:
        assert composed(prompt, calls) == [Part([(calls, prompt)])]


@pytest.mark.parametrize(
    "trap", ["[", "(", "[a|", "[a:", "[a:b:1]", "[a|b]", "()", "[]", ":1]", "|", "\\", " AND ", " "]
)
def test_no_prompt_keeps_the_reader_busy(trap: str) -> None:
    started = time.perf_counter()
    with contextlib.suppress(ValueError):
        composed((trap * 50_000)[:50_000], 50)
    assert time.perf_counter() - started < 10


def test_too_many_brackets_within_one_another_are_one_sentence() -> None:
    assert edited("[" * 99 + "a" + ":1]" * 99, 10)
    with pytest.raises(ValueError, match="more than 100 brackets within one another"):
        edited("[" * 101 + "a" + ":1]" * 101, 10)


# In runs


def last(sd: StableDiffusion, s: Settings, image: mx.array | None = None) -> mx.array:
    return list(sd.sample(s, image))[-1].x


@contextlib.contextmanager
def told(sd: StableDiffusion) -> Iterator[list[mx.array]]:
    """The contexts that the UNet is told, one entry a call."""
    seen: list[mx.array] = []
    kind = type(sd.unet)
    original = kind.__call__

    def watched(self: Any, x: mx.array, t: mx.array, context: mx.array, **more: mx.array) -> mx.array:
        seen.append(context)
        return original(self, x, t, context=context, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kind, "__call__", watched)
        yield seen


def switch(sd: StableDiffusion, s: Settings, image: mx.array | None = None) -> list[bool]:
    """Of each call: is the text still the first one?"""
    with told(sd) as seen:
        last(sd, s, image)
    return [bool(mx.array_equal(context[-1], seen[0][-1])) for context in seen]


def test_a_call_is_told_the_text_of_its_step(sd: StableDiffusion) -> None:
    s = replace(TINY, prompt="a [house:boat:0.5]")
    assert switch(sd, s) == [True, True, True, False]  # step 2 of 4 is the last of the first text
    assert switch(sd, replace(s, prompt="a [house:boat:1]")) == [True, True, False, False]
    assert switch(sd, replace(s, prompt="a [house|boat]")) == [True, True, False, True]
    # With two calls a step there are twice as many.
    assert switch(sd, replace(s, sampler="heun")) == [True] * 5 + [False] * 2
    assert switch(sd, replace(s, sampler="heun", prompt="a [house:boat:1]")) == [True] * 2 + [False] * 5


def test_image_to_image_counts_the_steps_that_it_runs_of_all_that_were_asked_for(sd: StableDiffusion) -> None:
    image = mx.zeros((32, 32, 3))
    s = replace(TINY, prompt="a [house:boat:0.25]", steps=8, strength=0.5, strength_mode="skip")
    assert switch(sd, s, image) == [True, True, True, False]
    assert switch(sd, replace(s, prompt="a [house:boat:0.5]"), image) == [True] * 4


def test_a_negative_prompt_changes_too(sd: StableDiffusion) -> None:
    with told(sd) as seen:
        last(sd, replace(TINY, negative_prompt="[fog:rain:1]"))
    assert [bool(mx.array_equal(context[0], seen[0][0])) for context in seen] == [True, True, False, False]
    assert all(mx.array_equal(context[1], seen[0][1]) for context in seen)


def test_a_text_that_does_not_change_gives_the_picture_that_it_gave(sd: StableDiffusion) -> None:
    once = last(sd, replace(TINY, prompt_syntax="plain"))
    for prompt in ("a house", "a [house:house:0.5]", "a [house|house]", "a [house:2.0]"):
        alike = mx.array_equal(last(sd, replace(TINY, prompt=prompt)), once)
        assert alike == (prompt != "a [house:2.0]")


def test_a_weight_alone_multiplies_the_guidance(sd: StableDiffusion) -> None:
    weighed = last(sd, replace(TINY, prompt="a house:0.5", cfg=8.0))
    assert largest_difference(weighed, last(sd, TINY)) < 1e-4
    # Without guidance too, where a single text of weight 1 needs no second row.
    assert largest_difference(last(sd, replace(TINY, prompt="a house:4", cfg=1.0)), last(sd, TINY)) < 1e-4


def test_halves_of_one_text_are_that_text(sd: StableDiffusion) -> None:
    both = replace(TINY, prompt="a house:0.5 AND a house:0.5")
    assert largest_difference(last(sd, both), last(sd, replace(TINY, prompt="a house"))) < 1e-4
    for cfg in (0.0, 1.0):  # no guidance: as it is without the second half
        assert largest_difference(last(sd, replace(both, cfg=cfg)), last(sd, replace(TINY, cfg=cfg))) < 1e-4


@pytest.mark.parametrize("family", ["sd1", "xl"])
def test_runs_of_other_lengths_and_counts_go_together(family: str) -> None:
    sd = StableDiffusion(str(DATA / family), float16=False)
    prompts = ["a house", "x " * 90 + "AND the sea:0.3", "[a|b " + "x " * 90 + "] AND c AND d:-1", "a:2"]
    samplers, steps = ("euler", "heun"), (4, 2)  # heun asks twice a step
    runs = [
        replace(TINY, prompt=prompt, sampler=sampler, steps=n, seed=seed)
        for seed in range(3)
        for prompt in prompts
        for sampler, n in zip(samplers, steps, strict=True)
    ]
    begun = sd.begin([sd.planner.run(run) for run in runs])
    together: dict[int, mx.array] = {which: step.x for which, step in sd.walk(begun)}
    for which, run in enumerate(runs):
        # A BLAS adds in another order where more rows go together. Latents here are of the size of 100; over six seeds
        # they were 3e-4 apart at the most, where 1e-4, without a regard to their size, held for some seeds alone.
        alone = last(sd, run)
        assert largest_difference(together[which], alone) < 1e-5 * float(mx.abs(alone).max())


def test_memory_is_counted_for_every_text(sd: StableDiffusion) -> None:
    plain, three = (sd.planner.run(replace(TINY, prompt=p, width=512, height=512)) for p in ("a", "a AND b AND c"))
    assert (plain.told, three.told) == (2, 4)
    assert sd.planner.run(replace(TINY, prompt="a AND b", cfg=1.0)).told == 3
    more, less = (working(sd.description, runs, None, mx.float32)["unet"] for runs in ([plain, three], [plain, plain]))
    assert more > less


@pytest.mark.parametrize("source", ["[a:b:0.5]", "a AND b", "a:0.5", "[a|b]", "a <lora:x:1>"])
def test_the_way_up_is_told_one_text(sd: StableDiffusion, source: str) -> None:
    with pytest.raises(ValueError, match="told one text throughout"):
        sd.plan(replace(TINY, source_prompt=source))
    sd.plan(replace(TINY, source_prompt=source, prompt_syntax="plain"))
