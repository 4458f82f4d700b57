"""Every image goes through one recipe, whatever its file looks like."""

import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from autometa.data import DataError, Recipe, load_class_folder, load_images
from autometa.data.images import convert, read_image
from tests.data.tiff import tiff

PLAIN = Recipe(size=4, polarity="as-is")
OPAQUE = Image.new("L", (2, 2), 255)


@pytest.fixture
def photo(tmp_path):
    """Saves an array as an image file and returns its path."""

    def save(pixels, name="photo.png", mode=None, **options):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.asarray(pixels)).convert(mode or None).save(path, **options)
        return path

    return save


def ramp(height, width):
    return np.arange(height * width, dtype=np.uint8).reshape(height, width)


def test_box_filter_averages(photo):
    pixels = np.random.default_rng(0).integers(0, 256, (12, 12), dtype=np.uint8)
    expected = pixels.reshape(4, 3, 4, 3).mean(axis=(1, 3))
    assert np.abs(read_image(photo(pixels), PLAIN)[0] - expected).max() <= 1  # Pillow rounds twice


def test_inverted_is_255_minus(photo):
    path = photo(ramp(4, 4))
    inverted = read_image(path, Recipe(size=4))
    assert inverted.dtype == np.uint8
    assert np.array_equal(inverted.astype(int) + read_image(path, PLAIN), np.full((1, 4, 4), 255))


def test_dark_ink_on_light_paper_becomes_bright(photo):
    pixels = np.full((8, 8), 250, np.uint8)
    pixels[:, 2:4] = 10
    found = read_image(photo(pixels), Recipe(size=4))[0]
    assert found[:, 1].min() == 245 and found[:, [0, 2, 3]].max() == 5


def test_one_bit_images_are_averaged_too(photo):
    pixels = np.zeros((8, 8), np.uint8)
    pixels[::2] = 255
    found = read_image(photo(pixels, mode="1"), PLAIN)
    assert np.all(np.abs(found.astype(int) - 127) <= 1)


def test_oblong_images_are_cropped_in_the_middle(photo):
    wide, tall = ramp(4, 8), ramp(8, 4)
    assert np.array_equal(read_image(photo(wide), PLAIN)[0], wide[:, 2:6])
    assert np.array_equal(read_image(photo(tall), PLAIN)[0], tall[2:6])


def test_exif_orientation(photo):
    pixels = ramp(4, 4)
    exif = Image.Exif()
    exif[0x0112] = 6  # stored a quarter turn counter-clockwise
    assert np.array_equal(read_image(photo(pixels, exif=exif), PLAIN)[0], np.rot90(pixels, -1))


def test_transparent_parts_are_paper(photo):
    pixels = np.zeros((4, 4, 4), np.uint8)
    pixels[1, 2, 3] = 255
    found = read_image(photo(pixels), Recipe(size=4))[0]
    assert found[1, 2] == 255 and found.sum() == 255


def test_sixteen_bits_are_scaled(photo):
    pixels = (np.arange(16, dtype=np.uint16) * 4000).reshape(4, 4)
    assert np.array_equal(read_image(photo(pixels), PLAIN)[0], pixels >> 8)


def test_colour(photo):
    pixels = np.random.default_rng(0).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    found = read_image(photo(pixels), Recipe(3, 4, "box", "as-is"))
    assert np.array_equal(found, pixels.transpose(2, 0, 1))
    assert read_image(photo(ramp(4, 4), "grey.png"), Recipe(3, 4, "box", "as-is")).shape == (3, 4, 4)


def test_load_images_keeps_the_order(photo):
    paths = [photo(np.full((4, 4), value, np.uint8), f"{name}.png") for name, value in (("b", 1), ("a", 2))]
    assert load_images(paths, PLAIN)[:, 0, 0, 0].tolist() == [1, 2]
    with pytest.raises(DataError, match="at least one"):
        load_images([], PLAIN)


def test_class_folder(photo, tmp_path):
    for value, name in enumerate(("dog/2.png", "dog/1.PNG", "cat/x.bmp", "dog/.hidden.png", ".git/1.png")):
        photo(np.full((5, 5), value, np.uint8), f"set/{name}")
    (tmp_path / "set" / "cat" / "notes.txt").write_text("no image")
    (tmp_path / "set" / "readme.png").write_text("not in a class")
    images, labels, names = load_class_folder(tmp_path / "set", PLAIN)
    assert names == ("cat", "dog")
    assert labels.dtype == np.int64 and labels.tolist() == [0, 1, 1]
    assert images[:, 0, 0, 0].tolist() == [2, 1, 0]


def test_class_folder_takes_the_recipe_of_omniglot_unless_told(photo, tmp_path):
    photo(np.full((5, 5), 255, np.uint8), "set/cat/1.png")
    images, _, _ = load_class_folder(tmp_path / "set")
    assert images.shape == (1, 1, 28, 28) and images.max() == 0


def test_messages(photo, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    (tmp_path / "empty" / "cat").mkdir(parents=True)
    (tmp_path / "bare").mkdir()
    cut = photo(np.random.default_rng(0).integers(0, 256, (50, 50), dtype=np.uint8), "cut.png")
    cut.write_bytes(cut.read_bytes()[:1000])
    for call, message in (
        (lambda: read_image(tmp_path / "none.png", PLAIN), "no image .*none.png"),
        (lambda: read_image(tmp_path / "broken.png", PLAIN), "broken.png cannot be read"),
        (lambda: read_image(cut, PLAIN), "cut.png cannot be read"),
        (lambda: read_image(tmp_path, PLAIN), "cannot be read"),
        (lambda: load_class_folder(tmp_path / "nowhere"), "no folder .*nowhere"),
        (lambda: load_class_folder(tmp_path / "bare"), "sub-folder"),
        (lambda: load_class_folder(tmp_path / "empty"), "cat has no image"),
    ):
        with pytest.raises(DataError, match=message):
            call()


@pytest.mark.parametrize(
    "wrong", [{"channels": 2}, {"size": 0}, {"size": 2.5}, {"filter": "fancy"}, {"polarity": "odd"}]
)
def test_recipes_are_checked(wrong):
    with pytest.raises(DataError, match=str(next(iter(wrong.values())))):
        Recipe(**wrong)


@pytest.mark.parametrize("mode", ("L", "LA", "RGB", "RGBA"))
def test_truth_values_of_a_file_are_black_and_white(mode):
    """As those of an array are; numbers up to 2 are 8 bits as ever."""
    for most, white in ((1, 255), (2, 2)):
        mask = np.array([[0, most], [most, 0]], np.uint8)
        image = Image.merge(mode, [Image.fromarray(mask)] * (len(mode) - mode.count("A")) + [OPAQUE] * mode.count("A"))
        for form in ("PNG", "GIF") if mode == "L" else ("PNG",):
            file = io.BytesIO()
            image.save(file, form)
            for channels in (1, 3):
                found = read_image(file, replace(PLAIN, size=2, channels=channels), "x")
                assert np.array_equal(found, np.stack([mask // most * white] * channels)), (mode, form)


def test_pictures_of_other_numbers_than_8_bits():
    ramp = np.linspace(0, 1, 16, dtype=np.float32).reshape(4, 4)
    for pixels, wanted in (
        (ramp, np.rint(255 * ramp)),
        (255 * ramp, np.floor(255 * ramp)),
        (np.arange(16, dtype=np.uint16).reshape(4, 4) * 4000, np.arange(16).reshape(4, 4) * 4000 >> 8),
        (np.arange(16, dtype=np.int32).reshape(4, 4) * 4000, np.arange(16).reshape(4, 4) * 4000 >> 8),
        (np.zeros((4, 4), np.float32), np.zeros((4, 4))),
        (np.zeros((4, 4), np.int32), np.zeros((4, 4))),
    ):
        assert np.array_equal(read_image(io.BytesIO(tiff(pixels)), PLAIN, "x")[0], wanted)
    for pixels, sentence in (
        (2 * ramp - 1, "from -1 to 1, not from 0 to 1 or 0 to 255"),
        (1000 * ramp, "from 0 to 1000, not"),
        (ramp * np.float32("nan"), "from nan to nan"),
        (np.arange(16, dtype=np.int32).reshape(4, 4) * 10**6, "not from 0 to 65535"),
        (np.arange(16, dtype=np.uint16).reshape(4, 4), "from 0 to 15 of 65535, which is black"),
        (np.arange(16, dtype=np.uint16).reshape(4, 4) * 273, "from 0 to 4095 of 65535, which is black"),
        (16 * ramp, "from 0 to 16 of 255, which is black"),
    ):
        with pytest.raises(DataError, match=f"x cannot be read as an image .*{sentence}"):
            read_image(io.BytesIO(tiff(pixels)), PLAIN, "x")


def test_a_tall_picture_is_cropped_to_its_middle_or_stretched():
    values = np.zeros((40, 20), np.uint8)
    values[:10], values[10:] = 255, np.arange(20) * 10
    tall = Image.fromarray(values)
    cropped = convert(tall, Recipe(1, 20, "box", "as-is"))
    assert np.array_equal(cropped[0], values[10:30])
    stretched = convert(tall, Recipe(1, 20, "box", "as-is", "stretch"))
    assert (stretched[0, :4] == 255).all() and abs(stretched[0, 8].astype(int) - values[20]).max() <= 10
    ink = convert(Image.fromarray(255 - values), Recipe(1, 20, "box", "auto", "stretch"))
    assert ink.shape == (1, 20, 20)


@pytest.mark.parametrize("polarity", ["auto", "inverted"])
def test_ink_is_put_into_the_middle_wherever_and_however_large_it_was_drawn(polarity):
    recipe, found = Recipe(1, 28, "box", polarity, "ink"), []
    for height, width, top, left, side in (
        (28, 28, 1, 2, 7),
        (100, 60, 3, 20, 40),
        (300, 500, 200, 30, 84),
        (9, 9, 0, 0, 9),
    ):
        values = np.full((height, width), 255, np.uint8)
        step = max(1, side // 7)
        values[top : top + side, left : left + step] = 0
        values[top + side - step : top + side, left : left + side] = 0  # an L
        found.append(convert(Image.fromarray(values), recipe)[0])
    for image in found:
        rows, columns = (np.flatnonzero(image.max(axis=axis) > 100) for axis in (1, 0))
        assert {len(rows), len(columns)} <= {19, 20, 21, 22}
        assert max(abs(rows[0] + rows[-1] - 27), abs(columns[0] + columns[-1] - 27)) <= 3
        assert image[rows[2], columns[1]] > 150 and image[rows[2], columns[-2]] < 80
    assert np.abs(found[1].astype(int) - found[2]).mean() < 12
    assert not convert(Image.new("L", (30, 40), 255), recipe).any(), "an empty sheet stays empty"


def test_ink_in_the_middle_is_for_drawings():
    for channels, polarity in ((3, "inverted"), (1, "as-is")):
        with pytest.raises(DataError, match="fit ink is for drawings: take the variant ink"):
            Recipe(channels, 28, "box", polarity, "ink")


def test_a_square_picture_is_the_same_however_it_fits():
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (30, 30), dtype=np.uint8))
    kinds = [convert(image, Recipe(1, 28, "box", "as-is", fit)) for fit in ("crop", "stretch")]
    assert np.array_equal(*kinds)


def test_a_fit_is_named_where_it_is_not_that_of_before():
    assert Recipe().to_dict() == {"channels": 1, "size": 28, "filter": "box", "polarity": "inverted"}
    assert Recipe().label == "28-box-inverted"
    stretched = Recipe(fit="stretch")
    assert Recipe(**stretched.to_dict()) == stretched and stretched.label == "28-box-inverted-stretch"
    with pytest.raises(DataError, match="unknown fit 'pad'; choose from crop, stretch, ink"):
        Recipe(fit="pad")
