"""Counts the lines of a source tree by folder, says so as it goes, and writes a report: the demo's program."""

import json
import os
import platform
import sys


def count(tree):
    lines = {}
    for folder, _, files in sorted(os.walk(tree)):
        for name in files:
            if name.endswith(".rs"):
                path = os.path.join(folder, name)
                room = os.path.relpath(path, tree).split(os.sep)[0]
                with open(path, "rb") as source:
                    lines[room] = lines.get(room, 0) + source.read().count(b"\n")
    return lines


def main():
    tree, report = sys.argv[1:]
    lines = count(tree)
    print(f"python {platform.python_version()} as uid {os.getuid()}, pid {os.getpid()}, on {platform.node()}")
    for room, number in sorted(lines.items()):
        print(f"{number:8} {room}", flush=True)
    with open(report, "w", encoding="utf-8") as file:
        json.dump(lines, file, indent=2, sort_keys=True)
    print(f"{sum(lines.values()):8} in all", file=sys.stderr)


main()
