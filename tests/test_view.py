"""Views: how their parts are read from words, checked, and kept in files."""

import pytest

from stable_diffusion.jobs.axes import read_axis
from stable_diffusion.jobs.kinds import Children, Grid, Loopback, Triangle, kind_of, read_strengths
from stable_diffusion.jobs.view import View
from stable_diffusion.settings import read_perturbation


def test_any_setting_can_be_an_read_axis() -> None:
    for text, wanted in (
        ("cfg=3,7.5", ("cfg", (3.0, 7.5))),
        ("strength-mode=level,full", ("strength_mode", ("level", "full"))),
        ("sampler=unipc:order=3,variant=bh1|euler", ("sampler", ("unipc:order=3,variant=bh1", "euler"))),
        ("sigmas=9,3,1|5,1", ("sigmas", ((9.0, 3.0, 1.0), (5.0, 1.0)))),
        ("perturb=1:0.2|1:0.2,2:0.5", ("perturb", (((1, 0.2),), ((1, 0.2), (2, 0.5))))),
    ):
        assert read_axis(text) == wanted
    for text in ("cfg", "cfg=", "output=a,b", "cfg=a", "steps=0,5", "cfg=3,3", "strength=1.5", "sampler=eulr"):
        with pytest.raises(ValueError, match=r"is not|names|must be|unknown sampler"):
            read_axis(text)


def test_strengths_are_a_range_too() -> None:
    assert read_strengths("0.1:1:0.1") == tuple(k / 10 for k in range(1, 11))
    assert read_strengths("0:0.5:0.2") == (0.0, 0.2, 0.4)
    for text in ("0.1:1", "1:0.1:0.1", "0:1:0", "0:1:0.001", "0.5:1.5:0.5", "0.5,0.5"):
        with pytest.raises(ValueError, match=r"is not|names|must be|unknown sampler"):
            read_strengths(text)


def test_a_variation_is_a_seed_and_an_amount() -> None:
    assert read_perturbation("1234:0.2") == (1234, 0.2)
    for text in ("1234", "a:0.2", "1:2", "-1:0.5", "1:x"):
        with pytest.raises(ValueError, match=r"is not|names|must be|unknown sampler"):
            read_perturbation(text)


def test_strengths_are_a_list_or_a_count() -> None:
    assert read_strengths("0.1,0.5,1") == (0.1, 0.5, 1.0)
    assert read_strengths("4") == (0.25, 0.5, 0.75, 1.0)
    assert read_strengths("1") == (1.0,)
    assert read_strengths("0.5") == (0.5,)
    for text in ("1.5", "0.1,2", "-1", "a", "0.1,,0.2", "1000"):
        with pytest.raises(ValueError, match=r"is not|names|must be|unknown sampler"):
            read_strengths(text)


def test_a_view_comes_back_from_json_without_what_nobody_asked_for() -> None:
    view = View(kind=Triangle((0.2, 1.0)), highlight=0.2, frames="clean", n_rows=2, animate="film.gif", latents=True)
    assert view.as_json() == {"generate_triangle": [0.2, 1.0], "highlight": 0.2, "frames": "clean", "n_rows": 2}
    assert View.from_json(view.as_json()) == View(kind=Triangle((0.2, 1.0)), highlight=0.2, frames="clean", n_rows=2)
    grid = View(kind=Grid((("perturb", (((1, 0.5),), ((1, 0.5), (2, 0.25, "1x1:eJw=")))), ("cfg", (1.0, 3.0)))))
    assert View.from_json(grid.as_json()) == grid


def test_what_is_asked_for_lies_over_what_was_there() -> None:
    was = View(kind=Triangle((0.2, 1.0)), sheet_size=300, n_rows=2)
    now = View(sheet_size=500, latents=True).over(was)
    assert now == View(kind=Triangle((0.2, 1.0)), sheet_size=500, n_rows=2, latents=True)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"output": "/etc/passwd"}, "there are no settings output"),
        ({"n_images": "many"}, "n_images is 'many': it must be a whole number"),
        ({"n_images": 10**9}, "from 1 to 10000"),
        ({"generate_triangle": ["x"]}, "strengths from 0 to 1"),
        ({"grid": []}, "one or two settings"),
        ({"grid": "cfg"}, "one or two settings"),
        ({"grid": [["steps", [10**9]]]}, "one or two settings"),
        ({"grid": [["seed", list(range(40))], ["steps", list(range(1, 41))]]}, "of at most 1000 places"),
        ({"generate_triangle": [0.5] * 101}, "at most 100"),
        ({"highlight": 2}, "from 0 to 1"),
        ({"frames": "blurred"}, "noisy or clean"),
        ({"show_denoising": True}, "a whole number"),
        ({"feather": -1}, "above 0"),
        ([1], "no object"),
    ],
)
def test_a_view_that_cannot_be_drawn_is_one_sentence(values: object, words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        View.from_json(values)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("one", [Children(0.3), Children(0.3, "1x1:eJw="), Triangle((0.5,)), Loopback(3)])
def test_a_kind_of_job_comes_back_from_json(one: Children | Triangle | Loopback) -> None:
    assert View.from_json(View(kind=one).as_json()) == View(kind=one)


def test_a_job_has_one_kind() -> None:
    with pytest.raises(ValueError, match="perturb and grid do not go together"):
        View.from_json({"perturb": 0.3, "grid": [["cfg", [1.0]]]})
    assert kind_of({"perturb": None}) is None


def test_a_kind_of_job_is_checked_when_it_is_made() -> None:
    with pytest.raises(ValueError, match="perturb is 2: it must be"):
        Children(2)
    with pytest.raises(ValueError, match="loopback is 0: it must be"):
        Loopback(0)


def test_a_grid_names_the_axis_that_an_option_contradicts() -> None:
    grid = Grid((("strength", (0.5, 1.0)),))
    assert {"strength", "start_step", "n_images"} <= grid.contradicts
    assert (grid.axis_against("start_step"), grid.axis_against("n_images")) == ("strength", None)
