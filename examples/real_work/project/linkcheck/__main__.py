"""``python3 -m linkcheck DIRECTORY``: prints what is broken, and exits with 1 if anything is."""

import sys
from pathlib import Path

from .check import check_tree


def main() -> int:
    if len(sys.argv) != 2:
        print("usage: python3 -m linkcheck DIRECTORY", file=sys.stderr)
        return 2
    root = Path(sys.argv[1])
    checked = check_tree(root)
    for broken in checked.broken:
        print(f"{broken.file.relative_to(root)}:{broken.line}: {broken.target}: {broken.reason}", flush=True)
    print(f"{checked.files} files, {checked.links} links, {len(checked.broken)} broken", flush=True)
    return 1 if checked.broken else 0


sys.exit(main())
