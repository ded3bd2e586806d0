"""What is a link, and what can be linked to, in a Markdown text."""

import re
from dataclasses import dataclass
from typing import Iterator

FENCE = re.compile(r"^\s*(```|~~~)")
CODE = re.compile(r"(`+).+?\1")
LINK = re.compile(r"\[[^\]]*\]\(\s*<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\s*\)")
HEADING = re.compile(r"^ {0,3}#{1,6}\s+(.*?)\s*#*\s*$")


@dataclass(frozen=True)
class Link:
    """A link, and the line on which it is."""

    target: str
    line: int


def prose(text: str) -> Iterator[tuple[int, str]]:
    """Yields the lines that are no code, with their numbers; code within a line is blanked."""
    fence = None
    for number, line in enumerate(text.splitlines(), start=1):
        found = FENCE.match(line)
        if found and fence is None:
            fence = found[1]
        elif found and found[1] == fence:
            fence = None
        elif fence is None:
            yield number, line


def links(text: str) -> list[Link]:
    """Returns the links of a text, in order."""
    found = []
    for number, line in prose(text):
        found += [Link(match[1], number) for match in LINK.finditer(CODE.sub("", line))]
    return found


def anchors(text: str) -> set[str]:
    """Returns the anchors that the headings of a text have."""
    found: set[str] = set()
    for _, line in prose(text):
        if heading := HEADING.match(line):
            name = slug(heading[1])
            number = 0
            while (anchor := f"{name}-{number}" if number else name) in found:
                number += 1
            found.add(anchor)
    return found


def slug(heading: str) -> str:
    """Returns the anchor of a heading: lower case, words joined by hyphens, without punctuation."""
    kept = [character for character in heading.lower() if character.isalnum() or character in " -_"]
    return "".join(kept).strip().replace(" ", "-")
