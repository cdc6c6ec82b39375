"""Prints pip constraints that pin every requirement in pyproject.toml to its lower bound."""

import re
import tomllib
from pathlib import Path

REQUIREMENT = re.compile(r"([\w.-]+)(?:\[[\w,]+\])?>=([\w.]+)")


def lowest() -> dict[str, str]:
    """The oldest version allowed of each package, by its name."""
    text = (Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8")
    project = tomllib.loads(text)["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *(one for name in extras for one in extras[name])]
    return {found[1]: found[2] for one in wanted if (found := REQUIREMENT.match(one))}


if __name__ == "__main__":
    print("\n".join(f"{name}=={version}" for name, version in lowest().items()))
