"""A page for each rule: its docstring, its picture, and its selection."""

import itertools
from pathlib import Path

import rule_pictures

from simbyz.aggregators import AGGREGATORS, BY_ROOT, REMEMBERING, WEIGHTED

N, F = rule_pictures.N, rule_pictures.F
CAPTION = (
    f"n = {N}, f = {F}. Colour: how far the aggregate is from the honest mean when all {F} "
    "attackers stand at this point. Orange: the aggregate under three attacks."
)


def write(folder: Path) -> None:
    """Writes `folder` anew; what has not changed is left as it is, so that builds stay short."""
    folder.mkdir(exist_ok=True)
    for name in AGGREGATORS:
        picture = folder / f"{name}.png"
        if not picture.exists():
            rule_pictures.draw(name, picture)
        update(folder / f"{name}.rst", page(name))
    lines = [*title("The rules"), ".. toctree::", "   :maxdepth: 1", ""]
    lines += [f"   {name}" for name in AGGREGATORS]
    lines += ["", "Around the rules", "-" * 16, "", ".. automodule:: simbyz.aggregators", ""]
    others = ["chain", "layerwise", "in_layers", "mixture", "selection_of", "together"]
    others += ["as_gradient_transformation", "at_workers", "remember_norms"]
    others += itertools.chain(*((name, f"{name}_selection") for name in (*WEIGHTED, *BY_ROOT)))
    others += ["heaviest_share", *REMEMBERING]
    lines += [f".. autofunction:: simbyz.aggregators.{name}" for name in others]
    lines += [".. autoclass:: simbyz.aggregators.Root"]
    lines += ["", "For a rule of your own", "-" * 22, ""]
    own = ["aggregate", "require", "ravel", "halves"]
    lines += [f".. autofunction:: simbyz.aggregators.base.{name}" for name in own]
    lines += [".. autoclass:: simbyz.aggregators.base.Halves"]
    lines += [".. autoclass:: simbyz.aggregators.StatefulRule"]
    update(folder / "index.rst", "\n".join([*lines, ""]))


def page(name: str) -> str:
    """The page of a rule."""
    options = rule_pictures.OPTIONS.get(name, {})
    plain = (
        f"{key}={value!r}" if isinstance(value, str | int | float) else key
        for key, value in options.items()
    )
    shown = f" Called with {', '.join(plain)}." if options else ""
    parts = [
        title(name),
        [f".. autofunction:: simbyz.aggregators.{name}", ""],
        [f".. figure:: {name}.png", f"   :alt: {name} in two dimensions", ""],
        [f"   {CAPTION}{shown}", ""],
        [f".. autofunction:: simbyz.aggregators.{name}_selection", ""],
    ]
    return "\n".join(itertools.chain(*parts))


def title(text: str) -> list[str]:
    return [text, "=" * len(text), ""]


def update(path: Path, text: str) -> None:
    if not path.exists() or path.read_text() != text:
        path.write_text(text)
