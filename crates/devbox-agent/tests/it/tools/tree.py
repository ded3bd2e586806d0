"""Makes a tree that is hard to pack, and describes trees line by line: tree.py make|describe FOLDER [LEFT_OUT…]."""

import hashlib
import os
import stat
import sys

# What a description may leave out, for formats that have no word for it.
SECONDS, LINKS, ATTRIBUTES, HOLES = "seconds", "links", "attributes", "holes"
ODD_NAMES, MODES, SYMLINKS = "odd-names", "modes", "symlinks"
MEBIBYTE = 1 << 20


def odd(name: bytes) -> bool:
    """Names that some tool here cannot bear: unzip leaves control characters out of them."""
    try:
        return not name.decode().isprintable() or name.endswith(b"newline")
    except UnicodeDecodeError:
        return True


def make(top: bytes, many: int) -> None:
    def file(name: bytes, content: bytes = b"content", mode: int = 0o644) -> bytes:
        path = os.path.join(top, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as out:
            out.write(content)
        os.chmod(path, mode)
        return path

    names = [b"plain", b"-x", b"[id].tsx", b"*", b"?", b"%2e%2e", b"a b", b"'", b'"', b"\\", b"$x", b"..a", b"...",
             "grüße".encode(), b"\xff\xfe", b"new\nline", b"n" * 255, b"n" * 100, b"n" * 101, b".hidden"]
    for name in names:
        file(b"names/" + name, name)
    file(b"deep/" + b"/".join([b"d" * 60] * 6) + b"/file", b"deep")
    file(b"modes/none", mode=0o400)
    file(b"modes/all", mode=0o777)
    file(b"modes/run", b"#!/bin/sh\n", 0o755)
    file(b"empty", b"")
    file(b"block", b"x" * 512)
    file(b"large", os.urandom(MEBIBYTE + 1))
    os.link(os.path.join(top, b"large"), os.path.join(top, b"names/same-as-large"))
    os.makedirs(os.path.join(top, b"empty-directory"))
    for name, target in [(b"to-file", b"plain"), (b"dangling", b"nowhere"), (b"absolute", b"/etc/passwd"),
                         (b"up", b".."), (b"long", b"t/" * 120 + b"t")]:
        os.symlink(target, os.path.join(top, b"names", name))
    sparse(file(b"sparse/islands", b""), [(MEBIBYTE, 5000), (3 * MEBIBYTE, 4096), (9 * MEBIBYTE, 1)], 12 * MEBIBYTE)
    sparse(file(b"sparse/nothing", b""), [], 8 * MEBIBYTE)
    sparse(file(b"sparse/end", b""), [(8 * MEBIBYTE, 100_000)], 8 * MEBIBYTE + 100_000)
    sparse(file(b"sparse/many", b""), [(at * 65536, 4096) for at in range(60)], 4 * MEBIBYTE)
    for number in range(many):
        file(b"many/%d/%d" % (number % 100, number), b"%d" % number)
    for name, attributes in [(b"plain", {"user.a": b"\0\xff\n=", "user.empty": b""}), (b"", {"user.of": b"directory"})]:
        for key, value in attributes.items():
            os.setxattr(os.path.join(top, b"names", name).rstrip(b"/"), key, value)
    os.chmod(os.path.join(top, b"names"), 0o750)
    for place, (folder, below, files) in enumerate(os.walk(top, topdown=False)):
        for entry in [os.path.join(folder, name) for name in below + files]:
            time = 1_600_000_000_123_456_789 + place * 1_000_000_007
            os.utime(entry, ns=(time, time), follow_symlinks=False)


def sparse(path: bytes, pieces: list, size: int) -> None:
    with open(path, "r+b") as out:
        out.truncate(size)
        for offset, length in pieces:
            out.seek(offset)
            out.write(b"d" * length)


def describe(top: bytes, left_out: list) -> list:
    entries = [os.path.join(folder, name) for folder, below, files in os.walk(top) for name in below + files]
    first_names = {}
    for path in sorted(entries, reverse=True):
        first_names[os.lstat(path).st_ino] = os.path.relpath(path, top)
    lines = []
    for path in entries:
        name = os.path.relpath(path, top)
        if ODD_NAMES in left_out and odd(name):
            continue
        found = os.lstat(path)
        kind = stat.S_IFMT(found.st_mode)
        if SYMLINKS in left_out and kind == stat.S_IFLNK:
            continue
        line = [ascii(name), oct(kind)]
        if kind == stat.S_IFLNK:
            line.append(ascii(os.readlink(path)))
        elif MODES not in left_out:
            line += [oct(stat.S_IMODE(found.st_mode)), found.st_mtime_ns // (10**9 if SECONDS in left_out else 1)]
        if kind == stat.S_IFREG:
            with open(path, "rb") as content:
                line += [found.st_size, hashlib.sha256(content.read()).hexdigest()[:16]]
            if LINKS not in left_out:
                line += [found.st_nlink, ascii(first_names[found.st_ino])]
            if HOLES not in left_out and found.st_size >= 4 * MEBIBYTE:
                line.append("sparse" if found.st_blocks * 512 < found.st_size // 2 else "whole")
        if ATTRIBUTES not in left_out and kind != stat.S_IFLNK:
            names = sorted(name for name in os.listxattr(path) if name.startswith("user."))
            line.append([(name, os.getxattr(path, name)) for name in names])
        lines.append(" ".join(map(str, line)))
    return sorted(lines)


def main() -> None:
    command, top, rest = sys.argv[1], os.fsencode(sys.argv[2]), sys.argv[3:]
    if command == "make":
        make(top, int(rest[0]))
    else:
        print("\n".join(describe(top, rest)))


main()
