"""The folder of a question's tables and pictures: no question overwrites the answer of another."""

import dataclasses
import hashlib
import re
from pathlib import Path
from typing import Any

from experiments.shared.options.checks import as_name

LONGEST = 80  # letters of a folder's name; what is longer ends in a digest


def folder_of(options: Any, *groups: type, but: tuple[str, ...] = ()) -> Path:
    """The folder in `options.results` for what is made of these options; made if it is not there.

    The results' folder itself for the default question, in it `rule_median-f_2` and the like for
    another. Runs are not parted so: what two questions ask, is run once.

    Args:
      groups: the dataclasses that `options` inherits from whose fields are the question.
      but: fields that the files' own names tell.

    Raises:
      OSError: it can't be made.
    """
    words = []
    for field in (field for group in groups for field in dataclasses.fields(group)):
        value = getattr(options, field.name)
        if field.name not in but and value != field.default:
            values = value if isinstance(value, tuple) else (value,)
            words.append(f"{field.name}_{'+'.join(map(_word, values))}")
    name = re.sub(r"[^\w.+=-]", "_", "-".join(words))
    if len(name) > LONGEST:
        digest = hashlib.sha256("-".join(words).encode()).hexdigest()[:8]
        name = f"{name[: LONGEST - 9]}-{digest}"
    folder: Path = options.results / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _word(value: Any) -> str:
    return as_name(value) if isinstance(value, float) else str(value)
