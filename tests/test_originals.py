"""What image-to-image starts from: read, made to fit, and what is said of it."""

from collections.abc import Generator

import numpy as np
import pytest
from PIL import Image

from stable_diffusion.jobs.events import Note
from stable_diffusion.jobs.originals import Originals, side


@pytest.mark.parametrize(
    ("pixels", "taken", "told"), [(None, None, ""), (64, 64, ""), (130, 128, "width 130"), (15, 8, "width 15")]
)
def test_a_side_is_taken_down_to_a_multiple_of_8_and_told(pixels: int | None, taken: int | None, told: str) -> None:
    found: list[int | None] = []

    def asked() -> Generator[Note, None, None]:
        found.append((yield from side(pixels, "width")))

    notes = list(asked())
    assert found == [taken]
    assert len(notes) == bool(told) and all(told in note.text for note in notes)


def test_a_feathered_mask_is_kept_as_it_was_and_painted_through_softly() -> None:
    mask = Image.new("L", (32, 32))
    mask.paste(255, (16, 0, 32, 32))
    originals = Originals(Image.new("RGB", (32, 32)), mask, "a.png", feather=2.0)
    soft = np.array(originals.arrays.mask)
    assert originals.mask is mask
    assert soft[0, 0] == 0 and soft[0, 31] == 1 and 0 < soft[0, 15] < 1


def test_a_mask_without_a_picture_is_for_perturbations_alone() -> None:
    arrays = Originals(mask=Image.new("L", (8, 8))).arrays
    assert arrays.image is None and arrays.mask is None
