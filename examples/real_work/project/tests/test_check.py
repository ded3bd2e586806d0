import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

from linkcheck import check_tree


class Check(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.root = Path(scratch.name)

    def write(self, path, text):
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")

    def broken(self):
        return [(broken.target, broken.reason) for broken in check_tree(self.root).broken]

    def test_what_leads_somewhere_is_fine(self):
        self.write("docs/b.md", "# Big Heading\n[up](../a.md) [root](/a.md) [self](#big-heading)\n")
        self.write("a.md", "[b](docs/b.md#big-heading) [folder](docs) [web](https://example.com/x) [space](c%20d.txt)\n")
        self.write("c d.txt", "")
        checked = check_tree(self.root)
        self.assertEqual((checked.files, checked.links, checked.broken), (2, 7, []))

    def test_what_leads_nowhere_is_found(self):
        self.write("a.md", "[x](missing.md)\n[y](b.md#missing)\n[z](#missing)\n")
        self.write("b.md", "# Here\n")
        reasons = ["no such file", "no such heading there", "no such heading"]
        self.assertEqual([reason for _, reason in self.broken()], reasons)

    def test_folders_of_others_are_left_alone(self):
        self.write("target/doc/a.md", "[x](missing.md)\n")
        self.write("a.txt", "[x](missing.md)\n")
        self.assertEqual(check_tree(self.root).files, 0)

    def test_the_program_says_what_is_broken_and_where(self):
        self.write("docs/a.md", "\n[x](missing.md)\n")
        command = [sys.executable, "-m", "linkcheck", str(self.root)]
        done = subprocess.run(command, capture_output=True, text=True)
        expected = "docs/a.md:2: missing.md: no such file\n1 files, 1 links, 1 broken\n"
        self.assertEqual((done.returncode, done.stdout), (1, expected))
