"""A page for each sender and compressor: its docstring, and its picture."""

from pathlib import Path

import sender_pictures
from rule_pages import title, update

CAPTION = (
    "One worker that goes down a noisy quadratic of eight coordinates by what the server holds of "
    "it; half way the minimum jumps. Dots: its gradients. Line: held by the server."
)
MODULE = "simbyz.simulator.workers"
GROUPS = {
    "Compressors": sender_pictures.COMPRESSORS,
    "Senders": sender_pictures.SENDERS,
    "Algorithms": sender_pictures.ALGORITHMS,
}
AROUND = {
    "compressors": ["Compressor"],
    "presence": ["by_chance", "until", "every"],
    "privacy": ["epsilon"],
    "recipes": ["normalised"],
}


def write(folder: Path) -> None:
    """Writes `folder` anew; what has not changed is left as it is, so that builds stay short."""
    folder.mkdir(exist_ok=True)
    lines = title("The senders, one by one")
    for group, names in GROUPS.items():
        lines += [".. toctree::", f"   :caption: {group}", "   :maxdepth: 1", ""]
        lines += [*(f"   {name}" for name in names), ""]
        for name in names:
            picture = folder / f"{name}.png"
            if not picture.exists():
                sender_pictures.draw(name, picture)
            update(folder / f"{name}.rst", page(name))
    for module, names in AROUND.items():
        lines += [f".. automodule:: {MODULE}.{module}", f"   :members: {', '.join(names)}", ""]
    update(folder / "index.rst", "\n".join(lines))


def page(name: str) -> str:
    """The page of a sender or compressor."""
    parts = [
        *title(name),
        f".. autofunction:: {MODULE}.{name}",
        "",
        f".. figure:: {name}.png",
        f"   :alt: what the server holds by {name}",
        "",
        f"   {CAPTION}",
        "",
    ]
    return "\n".join(parts)
