"""Tiny-ImageNet: 64 x 64 colour images of 200 classes, from the folder of its archive."""

import functools
import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from simbyz.data import cache
from simbyz.data.datasets import Dataset

SHAPE = (64, 64, 3)
PUBLISHED = (200, 100_000, 10_000)  # classes, training images, validation images
PREPROCESSING: dict[str, Any] = dict(
    scale=255.0, mean=(0.4802, 0.4481, 0.3975), deviation=(0.2302, 0.2265, 0.2262), flip=True
)


class Listing(NamedTuple):
    """The classes, and the file and the label of each image of a split."""

    classes: list[str]
    train: list[tuple[Path, int]]
    test: list[tuple[Path, int]]


def read_tiny_imagenet(
    folder: str | os.PathLike[str], *, cache_dir: str | os.PathLike[str] | None = None
) -> Dataset:
    """Tiny-ImageNet, as its archive tiny-imagenet-200.zip unpacks; the validation images, whose
    labels are published, are the test images.

    The first call decodes the images (about half a minute), later ones map the decoded arrays.

    Args:
      folder: tiny-imagenet-200, which holds wnids.txt, train/<id>/images/*.JPEG, val/images and
        val/val_annotations.txt. Some of the classes will do, too.
      cache_dir: where decoded arrays are kept; by default SIMBYZ_CACHE, else the user's cache.

    Returns:
      The data set; its notice says if these are not as many images as are published.

    Raises:
      OSError: no such folder, a file is missing or can't be read, or Pillow is not installed.
      ValueError: a list is of another form, or an image is damaged or of another size.

    Convention: labels number the classes in order of their ids, as loaders of a folder a class do;
      wnids.txt has another order.
    """
    listing = list_images(Path(folder))
    source = {"listing": _digest(listing)}
    decoded = cache.read_or_decode(
        cache.cache_folder(cache_dir) / "tiny_imagenet",
        functools.partial(_decode, listing, source),
        lambda known: known.get("listing") == source["listing"],
    )
    fields: dict[str, Any] = {**decoded.arrays, **PREPROCESSING}
    classes = len(listing.classes)
    return Dataset("tiny_imagenet", **fields, num_classes=classes, notice=decoded.notice)


def list_images(folder: Path) -> Listing:
    """What the folder's lists name, each file being there.

    Raises:
      OSError, ValueError: see `read_tiny_imagenet`.
    """
    if not (folder / "wnids.txt").is_file():
        raise FileNotFoundError(
            f"{folder} is not the folder of Tiny-ImageNet, there is no wnids.txt in it: unpack "
            "tiny-imagenet-200.zip and give the folder tiny-imagenet-200"
        )
    classes = sorted(_text(folder / "wnids.txt").split())
    if len(set(classes)) < max(2, len(classes)):
        raise ValueError(f"{folder / 'wnids.txt'} must name different classes, at least 2")
    train = []
    for label, name in enumerate(classes):
        paths = sorted((folder / "train" / name / "images").glob("*.JPEG"))
        if not paths:
            raise FileNotFoundError(
                f"no *.JPEG in {folder / 'train' / name / 'images'}: unpack the archive again"
            )
        train += [(path, label) for path in paths]
    labels = {name: label for label, name in enumerate(classes)}
    return Listing(classes, train, list(_annotated(folder / "val", labels)))


def _annotated(folder: Path, labels: dict[str, int]) -> Iterator[tuple[Path, int]]:
    """The validation images: a line names the file, its class, and a box that is not used."""
    path = folder / "val_annotations.txt"
    if not path.is_file():
        raise FileNotFoundError(f"there is no {path}: unpack the archive again")
    there = {image.name: image for image in (folder / "images").glob("*.JPEG")}
    lines = _text(path).splitlines()
    if not lines:
        raise ValueError(f"{path} is empty: unpack the archive again")
    for number, line in enumerate(lines, 1):
        name, tab, rest = line.partition("\t")
        known_as = rest.partition("\t")[0]
        if not tab or known_as not in labels:
            raise ValueError(
                f"{path}, line {number}, must be a file and a class of wnids.txt, divided by tabs, "
                f"got {line[:60]!r}"
            )
        if name not in there:
            raise FileNotFoundError(f"there is no {folder / 'images' / name}, which {path} names")
        yield there[name], labels[known_as]


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace")  # what is damaged names no class


def _digest(listing: Listing) -> str:
    """Of names, labels and sizes, by which a cache is known to be of the same images."""
    lines = [
        f"{path.parent.parent.name}/{path.name} {label} {path.stat().st_size}"
        for path, label in listing.train + listing.test
    ]
    return hashlib.sha256("\n".join([*listing.classes, *lines]).encode()).hexdigest()


def _decode(listing: Listing, source: dict[str, str]) -> cache.Decoded:
    try:
        import PIL
    except ImportError as error:
        raise FileNotFoundError(
            f"Tiny-ImageNet is decoded by Pillow, which can't be imported ({error}): install pillow"
        ) from error
    parts = [
        part
        for split, images in {"train": listing.train, "test": listing.test}.items()
        for part in (
            _pixels([path for path, _ in images], split),
            np.array([label for _, label in images], np.int32),
        )
    ]
    found = len(listing.classes), len(listing.train), len(listing.test)
    notice = ""
    if found != PUBLISHED:
        notice = (
            "tiny_imagenet here is not the published one: {:,} classes, {:,} training and {:,} "
            "validation images, where {:,}, {:,} and {:,} are published"
        ).format(*found, *PUBLISHED)
    arrays = dict(zip(cache.ARRAYS, parts, strict=True))
    return cache.Decoded(arrays, source | {"library": f"pillow {PIL.__version__}"}, notice)


def _pixels(paths: Sequence[Path], split: str) -> np.ndarray:
    """The images (N, 64, 64, 3); grey ones, of which there are some, with three equal channels.

    Raises:
      ValueError: one is damaged or of another size.
    """
    from PIL import Image
    from tqdm import tqdm

    pixels = np.empty((len(paths), *SHAPE), np.uint8)
    # disable=None: a bar on a terminal, silence elsewhere.
    named = tqdm(paths, desc=f"decoding tiny_imagenet {split}", disable=None)
    for number, path in enumerate(named):
        try:
            with Image.open(path) as image:
                decoded = np.asarray(image.convert("RGB"))
        except Exception as error:  # Pillow raises its own, OSErrors, SyntaxErrors and others
            raise ValueError(
                f"{path} can't be decoded ({error}): unpack the archive again"
            ) from error
        if decoded.shape != SHAPE:
            high, wide, _ = decoded.shape
            raise ValueError(f"{path} is of {wide} x {high} pixels, and not of 64 x 64")
        pixels[number] = decoded
    return pixels
