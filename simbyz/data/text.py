"""Text: characters as numbers, each to be told from those before it."""

from pathlib import Path

import numpy as np

from simbyz._arrays.checks import integer
from simbyz.data.datasets import Dataset
from simbyz.data.partition import Partition, by_owner

# Of William Shakespeare's Sonnets, 1609, in the public domain: 18, 29, 30, 73, 116 and 130, with a
# blank line between two.
SONNETS = Path(__file__).with_name("sonnets.txt")


def sonnets(length: int = 16) -> tuple[Dataset, Partition]:
    """Six of Shakespeare's sonnets, character by character, and which example is of which sonnet:
    each is a worker.

    Args:
      length: of the characters read.

    Returns, raises: as `characters`.
    """
    texts = SONNETS.read_text(encoding="utf-8").split("\n\n")
    return characters("sonnets", [f"{text.rstrip()}\n" for text in texts], length)


def characters(name: str, texts: list[str], length: int = 16) -> tuple[Dataset, Partition]:
    """Texts as examples: `length` characters, and the next one for a label; every fifth is a test
    example.

    Args:
      name: of the data set.
      texts: each longer than `length`; no example reaches from one into another.
      length: at least 1.

    Returns:
      The data set, its inputs floats (N, length) that are codes from 0 to num_classes - 1, in the
      order of the characters; and its partition by texts.

    Raises:
      TypeError: texts are no list of str.
      ValueError: length below 1, a text that is not longer, or one all of which is for the test.
    """
    length = integer("length", length)
    if isinstance(texts, str) or not all(isinstance(text, str) for text in texts):
        raise TypeError(f"texts must be a list of str, got {type(texts).__name__} {texts!r:.80}")
    if length < 1 or not texts or min(map(len, texts)) <= length:
        raise ValueError(f"each text must be longer than length={length}, which is at least 1")
    letters = sorted(set("".join(texts)))
    codes = [np.array([letters.index(letter) for letter in text], np.int32) for text in texts]
    windows = [np.lib.stride_tricks.sliding_window_view(text, length + 1) for text in codes]
    examples = np.concatenate(windows)
    owners = np.repeat(np.arange(len(texts)), [len(one) for one in windows])
    is_test = np.arange(len(examples)) % 5 == 0
    if lost := sorted(set(range(len(texts))) - set(owners[~is_test].tolist())):
        raise ValueError(
            f"text {lost[0]} has one example, a fifth one, which is for the test: with "
            f"length={length} a text needs {length + 2} characters"
        )
    inputs = examples[:, :-1].astype(np.float32)
    labels = np.ascontiguousarray(examples[:, -1])
    dataset = Dataset(
        name,
        inputs[~is_test],
        labels[~is_test],
        inputs[is_test],
        labels[is_test],
        num_classes=len(letters),
        scale=1.0,
        mean=(0.0,),
        deviation=(1.0,),
        flip=False,
    )
    return dataset, by_owner(owners[~is_test])
