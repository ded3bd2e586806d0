"""Where links lead."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

from .markdown import anchors, links

#: Directories that hold no text of ours.
SKIPPED = {".git", "target", "node_modules", ".venv"}


@dataclass(frozen=True)
class Broken:
    """A link that leads nowhere."""

    file: Path
    line: int
    target: str
    reason: str


@dataclass
class Checked:
    """What was looked at, and what was found."""

    files: int = 0
    links: int = 0
    broken: list[Broken] = field(default_factory=list)


def check_tree(root: Path) -> Checked:
    """Checks every Markdown file below a directory. Addresses of other machines are not called."""
    checked = Checked()
    for folder, names, files in os.walk(root):
        names[:] = sorted(name for name in names if name not in SKIPPED)
        for name in sorted(files):
            if name.endswith(".md"):
                check_file(root, Path(folder, name), checked)
    return checked


def check_file(root: Path, file: Path, checked: Checked) -> None:
    """Checks one Markdown file."""
    text = file.read_text(encoding="utf-8")
    checked.files += 1
    for link in links(text):
        checked.links += 1
        if reason := fault(root, file, text, link.target):
            checked.broken.append(Broken(file, link.line, link.target, reason))


def fault(root: Path, file: Path, text: str, target: str) -> str | None:
    """Says why a link leads nowhere, or nothing if it leads somewhere."""
    if "://" in target or target.startswith("mailto:"):
        return None
    path, _, anchor = unquote(target).partition("#")
    if not path:
        return None if anchor in anchors(text) else "no such heading"
    start = root if path.startswith("/") else file.parent
    found = start / path.lstrip("/")
    if not found.exists():
        return "no such file"
    if anchor and found.suffix == ".md" and anchor not in anchors(found.read_text(encoding="utf-8")):
        return "no such heading there"
    return None
