"""Files that a command writes at its end, and numbers in their names."""

import errno
import os

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from PIL import Image

from experiments.shared.files import is_drawn, save_figure, save_table, save_text
from experiments.shared.options.checks import as_name

WRITERS = {
    "picture.png": lambda path: save_figure(Figure(figsize=(1, 1)), path, dpi=50),
    "picture.pdf": lambda path: save_figure(Figure(figsize=(1, 1)), path),
    "table.csv": lambda path: save_table(pd.DataFrame({"a": [1, 2]}), path),
    "page.md": lambda path: save_text("né\n", path),
}


@pytest.mark.parametrize("name", WRITERS)
def test_a_full_disk_names_the_path_and_leaves_the_earlier_file(tmp_path, monkeypatch, name):
    path = tmp_path / name
    WRITERS[name](path)
    before = path.read_bytes()

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    what = name.partition(".")[0]
    with pytest.raises(OSError, match=f"{what} {path} can't be written: No space left on device"):
        WRITERS[name](path)
    assert {one.name: one.read_bytes() for one in tmp_path.iterdir()} == {name: before}


def test_a_pipe_stays_one(tmp_path):
    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(OSError, match=r"pipe.csv can't be written: it is a device or a pipe"):
        save_table(pd.DataFrame({"a": [1]}), tmp_path / "pipe.csv")
    assert (tmp_path / "pipe.csv").is_fifo() and len(os.listdir(tmp_path)) == 1


def test_what_is_written(tmp_path):
    for name, write in WRITERS.items():
        write(tmp_path / name)
    with Image.open(tmp_path / "picture.png") as picture:
        assert picture.size == (50, 50)
    assert (tmp_path / "picture.pdf").read_bytes().startswith(b"%PDF")
    assert (tmp_path / "table.csv").read_text() == "a\n1\n2\n"
    assert (tmp_path / "page.md").read_text(encoding="utf-8") == "né\n"


def test_no_two_numbers_share_a_name():
    generator = np.random.default_rng(0)
    numbers = [*(10.0 ** generator.uniform(-9, 3, 200)).tolist(), 0.1, 0.10000000001, 0.5, 1e-8]
    numbers += [np.nextafter(number, 1) for number in numbers]
    assert len({as_name(number) for number in numbers}) == len(set(numbers))
    assert all(float(as_name(number)) == number for number in numbers)


@pytest.mark.parametrize(
    ("number", "name"), [(0.5, "0.5"), (0.02, "0.02"), (1e-8, "1e-08"), (1, "1"), (0.0, "0")]
)
def test_short_numbers_keep_their_names(number, name):
    assert as_name(number) == name


def test_no_letter_is_cut_in_a_picture_after_its_pdf(tmp_path):
    figure = Figure(figsize=(3, 2), layout="constrained")
    figure.subplots().set_yticks([0, 1], ["relocated_orthogonal_perturbation", ""], fontsize=7)
    for ending in ("pdf", "png"):
        save_figure(figure, tmp_path / f"picture.{ending}", dpi=110)
    pixels = np.asarray(Image.open(tmp_path / "picture.png").convert("L"))
    assert pixels[:, :2].min() == 255 and pixels.min() < 50


@pytest.mark.parametrize("ending", ["png", "pdf"])
def test_a_picture_that_is_cut_or_changed_is_not_drawn(tmp_path, ending):
    path = tmp_path / f"picture.{ending}"
    save_figure(Figure(figsize=(1, 1)), path, source="of these runs", dpi=50)
    assert is_drawn(path, "of these runs") and not is_drawn(path, "of others")
    content = path.read_bytes()
    changed = [content[:-9], content[: len(content) // 2], b""]
    if ending == "png":  # whose parts have checksums
        at = len(content) - 30
        changed.append(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
    for other in changed:
        path.write_bytes(other)
        assert not is_drawn(path, "of these runs")
