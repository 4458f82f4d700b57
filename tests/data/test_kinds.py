"""Whether pictures are tall, and which models their kind suits."""

from dataclasses import dataclass

import numpy as np
from PIL import Image

from autometa.data.formats.sources import ImageFile
from autometa.data.images import Recipe
from autometa.data.kinds import is_tall, unlike


@dataclass(frozen=True)
class Elsewhere:
    """A picture that is no file."""

    name: str = "in an archive"


def files(folder, *shapes):
    made = []
    for number, (height, width) in enumerate(shapes):
        Image.fromarray(np.zeros((height, width), np.uint8)).save(folder / f"{number}.png")
        made.append(ImageFile(folder / f"{number}.png"))
    return made


def test_most_pictures_are_tall(tmp_path):
    assert is_tall(files(tmp_path, (32, 20), (40, 18), (20, 20)))
    assert not is_tall(files(tmp_path, (32, 20), (20, 20), (20, 30)))


def test_what_cannot_be_told_is_not_tall(tmp_path):
    (tmp_path / "bad.png").write_bytes(b"nothing")
    assert not is_tall([Elsewhere(), ImageFile(tmp_path / "bad.png")]) and not is_tall([])


def test_signs_that_are_stretched_may_be_photographed_in_colour():
    signs, grey = Recipe(1, 28, "box", "as-is", "stretch"), Recipe(1, 28, "box", "as-is")
    assert unlike("colour", signs) is None and "in colour" in unlike("colour", grey)
    assert "light on dark" in unlike("grey", Recipe(1, 28, "box", "inverted", "stretch"))
