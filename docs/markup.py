"""Docstrings, which are plain text, as the markup that Sphinx reads."""

import re

# Paragraphs of a docstring that have a name, "Cost: two passes."
NAMED = re.compile(r"(Weights|Cost|Reference|Convention|Conventions): ")
SECTION = re.compile(r"(Args|Returns|Raises|Yields|Attributes):$")
CODE = re.compile(r"(`[^`]*`)")


def translate(app, what, name, obj, options, lines) -> None:
    """Changes the lines of a docstring in place: formulas keep their lines and characters, named
    paragraphs become fields.
    """
    result: list[str] = []
    literal = section = False
    for number, line in enumerate(lines):
        indented = line.startswith(" ")
        after_blank = number == 0 or not lines[number - 1].strip()
        if line.strip() and not indented:
            section, literal = bool(SECTION.match(line)), False
        if indented and after_blank and not section and not literal:
            result += ["::", ""]
            literal = True
        if NAMED.match(line):
            if result and result[-1].strip() and not result[-1].startswith((":", " ")):
                result.append("")
            line = ":" + line.replace(": ", ": ", 1)
        result.append(line if literal else escape(line))
    lines[:] = result


def escape(line: str) -> str:
    """The characters that would mean something, outside code."""
    parts = CODE.split(line)
    return "".join(
        part if part.startswith("`") else re.sub(r"[*|]|_(?!\w)", r"\\\g<0>", part)
        for part in parts
    )


def skips(app, what, name, obj, skip, options) -> bool | None:
    """Fields of named tuples say nothing but their number."""
    return True if type(obj).__name__ == "_tuplegetter" else None
