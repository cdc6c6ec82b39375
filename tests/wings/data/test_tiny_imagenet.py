"""Tiny-ImageNet: its archive's layout, made here with few images, each of one colour."""

import re
import sys

import numpy as np
import pytest
from PIL import Image

from simbyz import data

# In the order of wnids.txt, which is not that of the labels.
CLASSES = ("n03", "n01", "n02")
LABELS = {"n01": 0, "n02": 1, "n03": 2}


def colour(label, number):
    return (40 * label + 20, 10 * number + 5, 200)


def save(path, pixels, mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(pixels, np.uint8), mode).save(path, "JPEG", quality=100)


def whole(value):
    return np.broadcast_to(value, (64, 64, 3))


@pytest.fixture
def folder(tmp_path):
    """Three classes of 2, 3 and 4 training images, and four validation images."""
    folder = tmp_path / "tiny-imagenet-200"
    for name, label in LABELS.items():
        for number in range(label + 2):
            path = folder / "train" / name / "images" / f"{name}_{number}.JPEG"
            save(path, whole(colour(label, number)))
        (folder / "train" / name / f"{name}_boxes.txt").write_text(f"{name}_0.JPEG\t0\t0\t9\t9\n")
    lines = []
    for number, name in enumerate(("n02", "n03", "n01", "n02")):
        save(folder / "val" / "images" / f"val_{number}.JPEG", whole(colour(LABELS[name], number)))
        lines.append(f"val_{number}.JPEG\t{name}\t0\t32\t44\t62\n")
    (folder / "val" / "val_annotations.txt").write_text("".join(lines))
    save(folder / "test" / "images" / "test_0.JPEG", whole(0))
    (folder / "wnids.txt").write_text("\n".join(CLASSES) + "\n")
    (folder / "words.txt").write_text("n01\tfirst\n")
    return folder


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SIMBYZ_CACHE", str(tmp_path / "cache"))


def test_images_and_labels(folder):
    dataset = data.read_tiny_imagenet(folder)
    assert dataset.train_images.shape == (9, 64, 64, 3) and dataset.num_classes == 3
    assert dataset.train_labels.tolist() == [0, 0, 1, 1, 1, 2, 2, 2, 2]
    assert dataset.test_labels.tolist() == [1, 2, 0, 1]
    images = np.concatenate([dataset.train_images, dataset.test_images]).astype(int)
    labels = [*dataset.train_labels, *dataset.test_labels]
    numbers = [0, 1, 0, 1, 2, 0, 1, 2, 3, 0, 1, 2, 3]
    # Of one colour a JPEG keeps all but the rounding of its colour space.
    np.testing.assert_allclose(images[:, 0, 0], list(map(colour, labels, numbers)), atol=2)
    assert images.std(axis=(1, 2)).max() == 0
    assert dataset.flip and dataset.scale == 255
    assert dataset.notice == (
        "tiny_imagenet here is not the published one: 3 classes, 9 training and 4 validation "
        "images, where 200, 100,000 and 10,000 are published"
    )


def test_grey_images_have_three_equal_channels(folder):
    grey = np.arange(4096).reshape(64, 64) // 16
    save(folder / "train" / "n01" / "images" / "n01_0.JPEG", grey, "L")
    image = data.read_tiny_imagenet(folder).train_images[0]
    assert np.abs(image - grey[..., None]).max() <= 4


def test_decoded_once_until_the_folder_changes(folder, monkeypatch):
    first = data.read_tiny_imagenet(folder)
    with monkeypatch.context() as without_pillow:
        without_pillow.setitem(sys.modules, "PIL", None)
        again = data.read_tiny_imagenet(folder)
    np.testing.assert_array_equal(again.train_images, first.train_images)
    assert isinstance(again.test_images, np.memmap) and again.notice == first.notice
    save(folder / "train" / "n02" / "images" / "n02_9.JPEG", whole(7))
    assert len(data.read_tiny_imagenet(folder).train_labels) == 10


def remove(path):
    path.unlink()


def truncate(path):
    path.write_bytes(path.read_bytes()[:300])


def write(text):
    return lambda path: path.write_text(text)


@pytest.mark.parametrize(
    ("file", "damage", "kind", "told"),
    [
        ("wnids.txt", remove, OSError, "is not the folder of Tiny-ImageNet, .* no wnids.txt"),
        ("wnids.txt", write("n01\n"), ValueError, "must name different classes, at least 2"),
        ("wnids.txt", write("n01 n02 n02"), ValueError, "must name different classes"),
        ("wnids.txt", write("n01\nn02\nn04\n"), OSError, r"no \*.JPEG in .*train/n04/images"),
        ("val/val_annotations.txt", remove, OSError, "there is no .*val_annotations.txt"),
        ("val/val_annotations.txt", write(""), ValueError, "val_annotations.txt is empty"),
        ("val/val_annotations.txt", write("val_0.JPEG n01\n"), ValueError, "line 1, must be"),
        ("val/val_annotations.txt", write("val_0.JPEG\tn9\t0\n"), ValueError, "class of wnids.txt"),
        ("val/val_annotations.txt", write("../x\tn01\n"), OSError, r"there is no .*\.\./x, which"),
        ("val/images/val_2.JPEG", remove, OSError, "there is no .*val_2.JPEG, which"),
        ("val/images/val_2.JPEG", truncate, ValueError, "val_2.JPEG can't be decoded"),
        ("val/images/val_2.JPEG", write("text"), ValueError, "val_2.JPEG can't be decoded"),
        ("train/n03/images/n03_1.JPEG", write(""), ValueError, "n03_1.JPEG can't be decoded"),
        (
            "train/n03/images/n03_1.JPEG",
            lambda path: save(path, np.zeros((32, 64, 3))),
            ValueError,
            "n03_1.JPEG is of 64 x 32 pixels, and not of 64 x 64",
        ),
    ],
)
def test_what_is_wrong_is_told_in_a_line(folder, file, damage, kind, told):
    damage(folder / file)
    with pytest.raises(kind, match=told) as error:
        data.read_tiny_imagenet(folder)
    assert "\n" not in str(error.value)


def test_the_folder_above_and_a_machine_without_pillow(folder, monkeypatch):
    with pytest.raises(FileNotFoundError, match="give the folder tiny-imagenet-200"):
        data.read_tiny_imagenet(folder.parent)
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(FileNotFoundError, match=re.escape("install pillow")):
        data.read_tiny_imagenet(folder)
