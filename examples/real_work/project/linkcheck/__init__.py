"""Finds links in Markdown files that lead nowhere."""

from .check import Broken, check_tree
from .markdown import Link, anchors, links

__all__ = ["Broken", "Link", "anchors", "check_tree", "links"]
