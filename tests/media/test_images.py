"""Images: whatever the encoding, three channels of eight bits; and the right file for each image_id."""

from __future__ import annotations

import io
import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from posefix.core.errors import InputError
from posefix.formats import ImageIndex
from posefix.formats.coco import ImageRecord
from posefix.media.images import ImageFolder, decode, quiet_opencv


@pytest.fixture(autouse=True)
def quiet() -> None:
    quiet_opencv()


@pytest.fixture
def picture(rng: np.random.Generator) -> np.ndarray:
    """(40, 60, 3) uint8 smooth colours, in which left, right, top and bottom differ."""
    return cv2.resize(rng.integers(0, 256, (4, 6, 3), dtype=np.uint8), (60, 40), interpolation=cv2.INTER_LINEAR)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "WEBP"])
def test_lossless_formats_come_out_as_rgb(picture: np.ndarray, kind: str) -> None:
    options = {"lossless": True} if kind == "WEBP" else {}
    np.testing.assert_array_equal(decode(encoded(Image.fromarray(picture), kind, **options)), picture)


def test_jpeg_agrees_with_another_decoder(picture: np.ndarray) -> None:
    content = encoded(Image.fromarray(picture), "JPEG", quality=95)
    reference = np.asarray(Image.open(io.BytesIO(content)).convert("RGB")).astype(int)
    assert np.abs(decode(content).astype(int) - reference).max() <= 3


def test_grey_becomes_three_equal_channels(picture: np.ndarray) -> None:
    grey = picture[..., 0]
    for content in (encoded(Image.fromarray(grey), "PNG"), encoded(Image.fromarray(grey).convert("LA"), "PNG")):
        np.testing.assert_array_equal(decode(content), np.repeat(grey[..., None], 3, axis=-1))


@pytest.mark.parametrize("extension", [".png", ".tiff"])
def test_sixteen_bits_keep_the_upper_eight(picture: np.ndarray, extension: str) -> None:
    deep = picture.astype(np.uint16) * 256 + 128
    bgr = cv2.imencode(extension, deep[..., ::-1])[1].tobytes()
    assert np.abs(decode(bgr).astype(int) - picture).max() <= 1
    grey = cv2.imencode(extension, deep[..., 1])[1].tobytes()
    assert np.abs(decode(grey).astype(int) - picture[..., 1:2]).max() <= 1


def test_alpha_is_dropped_not_blended(picture: np.ndarray) -> None:
    alpha = np.tile(np.linspace(0, 255, 60).astype(np.uint8), (40, 1))
    content = encoded(Image.fromarray(np.dstack([picture, alpha])), "PNG")
    np.testing.assert_array_equal(decode(content), picture)


def test_palette_images_have_their_colours(picture: np.ndarray) -> None:
    palette = Image.fromarray(picture).quantize(64)
    np.testing.assert_array_equal(decode(encoded(palette, "PNG")), np.asarray(palette.convert("RGB")))


def test_cmyk_jpeg_has_its_colours(picture: np.ndarray) -> None:
    content = encoded(Image.fromarray(picture).convert("CMYK"), "JPEG", quality=98)
    assert np.abs(decode(content).astype(int) - picture).mean() < 4


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation_is_ignored(picture: np.ndarray, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x112] = orientation
    plain = decode(encoded(Image.fromarray(picture), "JPEG"))
    np.testing.assert_array_equal(decode(encoded(Image.fromarray(picture), "JPEG", exif=exif)), plain)


def test_one_pixel() -> None:
    np.testing.assert_array_equal(decode(encoded(Image.new("RGB", (1, 1), (9, 8, 7)), "PNG")), [[[9, 8, 7]]])


def test_a_hundred_megapixels(tmp_path: Path) -> None:
    path = tmp_path / "1.png"
    path.write_bytes(encoded(Image.new("1", (12_000, 9_000), 1), "PNG"))
    image = decode(path)
    assert image.shape == (9_000, 12_000, 3) and image.dtype == np.uint8
    assert image[::999, ::999].min() == 255


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "TIFF", "WEBP"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.95])
def test_an_image_cut_off_is_named(tmp_path: Path, picture: np.ndarray, kind: str, share: float) -> None:
    content = encoded(Image.fromarray(picture), kind)
    path = tmp_path / f"7.{kind.lower()}"
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(InputError, match="cannot be decoded") as error:
        decode(path)
    assert str(path) in str(error.value)


def test_what_is_no_image_is_named(tmp_path: Path) -> None:
    path = tmp_path / "1.jpg"
    for content, says in [(b"", "is empty"), (b"<html>not found</html>", "cannot be decoded")]:
        path.write_bytes(content)
        with pytest.raises(InputError, match=says) as error:
            decode(path)
        assert str(path) in str(error.value)
    with pytest.raises(InputError, match="no such file"):
        decode(tmp_path / "2.jpg")
    with pytest.raises(InputError, match="is a directory"):
        decode(tmp_path)
    with pytest.raises(InputError, match="5 bytes"):
        decode(b"hello")


# ---- which file is which image


def filled(folder: Path, *names: str) -> Path:
    for shade, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(Image.new("RGB", (3, 2), (shade, 0, 0)), "PNG"))
    return folder


@pytest.mark.parametrize(
    "name",
    [
        "139.jpg",
        "000000000139.png",
        "COCO_val2014_000000000139.JPG",
        "frame-139.jpeg",
        "v2.1_139.webp",
        "139.TIF",
        "x139.bmp",
        "139.tiff",
    ],
)
def test_an_id_is_the_number_at_the_end_of_a_name(tmp_path: Path, name: str) -> None:
    images = ImageFolder(filled(tmp_path, name, "1390.jpg", "139_mask.png", "139.txt", "1139.jpg"))
    assert images.path(139) == tmp_path / name
    assert images[139].shape == (2, 3, 3)
    assert 139 in images and 39 not in images and 13 not in images


def test_numbers_are_looked_for_in_the_folders_below_if_there_are_none_above(tmp_path: Path) -> None:
    below = ImageFolder(filled(tmp_path, "train/5.jpg", "val/2017/6.jpg", "notes.txt"))
    assert below.path(5) == tmp_path / "train" / "5.jpg" and below.name(6) == "val/2017/6.jpg"
    above = ImageFolder(filled(tmp_path, "6.jpg"))
    assert above.path(6) == tmp_path / "6.jpg" and 5 not in above
    twice = ImageFolder(filled(tmp_path / "twice", "train/5.jpg", "val/5.jpg"))
    with pytest.raises(InputError, match=r"claimed by 2 files, train/5.jpg and val/5.jpg"):
        twice.path(5)


def test_a_number_twice_is_an_error_only_when_asked_for(tmp_path: Path) -> None:
    images = ImageFolder(filled(tmp_path, "5.jpg", "0005.png", "6.jpg"))
    assert images.path(6).name == "6.jpg"
    images.require([5, 6])
    with pytest.raises(InputError, match=r"image_id 5 is claimed by 2 files, 0005.png and 5.jpg"):
        images.path(5)


def test_annotations_say_the_file_name(tmp_path: Path) -> None:
    filled(tmp_path, "train/a.png", "b.png", "7.png")
    records = {
        1: ImageRecord("train/a.png"),
        2: ImageRecord("elsewhere/b.png"),
        3: ImageRecord("c.png"),
        4: ImageRecord("other\\b.png"),
    }
    images = ImageFolder(tmp_path, records)
    assert images.path(1) == tmp_path / "train" / "a.png"
    assert images.path(2) == images.path(4) == tmp_path / "b.png"
    assert 7 not in images  # its number is no name here
    with pytest.raises(InputError, match=r"image_id 3.*c\.png"):
        images.path(3)
    with pytest.raises(InputError, match=r"image_id 7.*annotations do not list"):
        images.path(7)


def test_images_of_another_size_than_annotated_are_refused_or_rotated(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x112] = 6
    Image.new("RGB", (8, 6)).save(tmp_path / "1.jpg", exif=exif)

    def shape(width: int, height: int, upright: bool = False) -> tuple[int, ...]:
        return ImageFolder(tmp_path, {1: ImageRecord("1.jpg", width, height)}, upright)[1].shape

    assert shape(0, 0) == shape(8, 6) == (6, 8, 3)
    assert shape(6, 8) == shape(8, 6, True) == shape(6, 8, True) == (8, 6, 3)
    with pytest.raises(InputError, match=r"1\.jpg: has 8 x 6 pixels, but 16 x 12 in the annotations"):
        shape(16, 12)


@pytest.mark.parametrize("upright", [False, True])
def test_images_whose_exif_rotation_is_ignored_are_counted_and_square_ones_are_not(
    tmp_path: Path, upright: bool
) -> None:
    exif = Image.Exif()
    exif[0x112] = 6
    Image.new("RGB", (8, 6)).save(tmp_path / "1.jpg", exif=exif)
    Image.new("RGB", (8, 6)).save(tmp_path / "2.jpg")
    Image.new("RGB", (8, 8)).save(tmp_path / "3.jpg")
    images = ImageFolder(tmp_path, upright=upright)
    assert [images[i].shape[:2] for i in (1, 2, 3)] == [(8, 6) if upright else (6, 8), (6, 8), (8, 8)]
    assert images.rotated == (set() if upright else {1})


def test_missing_images_are_counted_and_the_first_five_named(tmp_path: Path) -> None:
    images = ImageFolder(filled(tmp_path, "3.png"))
    wanted = np.array([3, 90, 80, 70, 60, 50, 40, 40])
    with pytest.raises(InputError, match=r"6 of 7 image_ids .* the first five 40, 50, 60, 70, 80$"):
        images.require(wanted)
    with pytest.raises(InputError, match=r"1 of 2 image_ids .* 4$"):
        images.require([3, 4])
    images.require([3, 3])
    images.require([])


def test_no_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        ImageFolder(tmp_path / "none")
    with pytest.raises(InputError, match="is a file"):
        ImageFolder(filled(tmp_path, "1.png") / "1.png")


def test_a_folder_goes_to_worker_processes(tmp_path: Path) -> None:
    images = pickle.loads(pickle.dumps(ImageFolder(filled(tmp_path, "3.png"))))
    assert images[3].shape == (2, 3, 3)


def test_real_images_are_found_with_and_without_annotations(data_root: Path) -> None:
    truth = ImageIndex.of_annotations(data_root / "coco" / "annotations" / "person_keypoints_val.json")
    named = ImageFolder(data_root / "coco" / "val", truth.records)
    numbered = ImageFolder(data_root / "coco" / "val")
    named.require(truth.records)
    assert [named.path(i) for i in truth.records] == [numbered.path(i) for i in truth.records]
    for image_id in list(truth.records)[:5]:
        record = truth.records[image_id]
        assert named[image_id].shape == (record.height, record.width, 3)
