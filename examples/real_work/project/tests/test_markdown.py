import unittest

from linkcheck import Link, anchors, links


class Links(unittest.TestCase):
    def test_links_are_found_with_their_lines(self):
        text = "one [a](b.md)\n\ntwo [c](<d.md>) and [e](f.md \"title\")\n"
        self.assertEqual(links(text), [Link("b.md", 1), Link("d.md", 3), Link("f.md", 3)])

    def test_an_image_is_a_link(self):
        self.assertEqual(links("![alt](picture.png)"), [Link("picture.png", 1)])

    def test_code_has_no_links(self):
        text = "`[a](b.md)` and ``x ` [c](d.md)``\n```\n[e](f.md)\n~~~\n[g](h.md)\n```\n[i](j.md)\n"
        self.assertEqual(links(text), [Link("j.md", 7)])

    def test_brackets_alone_are_no_link(self):
        self.assertEqual(links("[a] (b) [c]: d"), [])


class Anchors(unittest.TestCase):
    def test_headings_have_anchors(self):
        text = "# The `first` heading!\n## Two  spaces ##\n###no heading\n```\n# code\n```\n"
        self.assertEqual(anchors(text), {"the-first-heading", "two--spaces"})

    def test_equal_headings_are_numbered(self):
        self.assertEqual(anchors("# A\n# A\n# A\n"), {"a", "a-1", "a-2"})
