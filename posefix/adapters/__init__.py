"""Any estimator's files to :class:`~posefix.people.People` and back: one module for each format.

    people = read("openpose_output/", images=ImageIndex.of_folder(Path("photos")))
    write(people, "better/")

:func:`read` finds the format by itself; :func:`write` writes the one that was read unless told another. A new format is
a module with a :class:`~posefix.adapters.content.Format`, and a line in :mod:`posefix.adapters.registry`.
"""

from posefix.adapters.content import Content, Format
from posefix.adapters.exchange import Own, Source, fitted, read, read_again, read_results, with_refined, writable, write
from posefix.adapters.images import ImageIndex
from posefix.adapters.peek import Peek
from posefix.adapters.registry import FORMATS, format_named, format_of, sniff

__all__ = [
    "FORMATS",
    "Content",
    "Format",
    "ImageIndex",
    "Own",
    "Peek",
    "Source",
    "fitted",
    "format_named",
    "format_of",
    "read",
    "read_again",
    "read_results",
    "sniff",
    "with_refined",
    "writable",
    "write",
]
