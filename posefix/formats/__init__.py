"""Convert estimators' files to :class:`~posefix.core.people.People` and back: one module per format.

    people = read("openpose_output/", images=ImageIndex.of_folder(Path("photos")))
    write(people, "better/")

:func:`read` detects the format; :func:`write` keeps it unless told otherwise. A new format is a module with a
:class:`~posefix.formats.parsed_file.Format` and a line in :mod:`posefix.formats.registry`.
"""

from posefix.formats.exchange import fitted, read, writable, write
from posefix.formats.images import ImageIndex
from posefix.formats.parsed_file import Format, ParsedFile
from posefix.formats.probe import FileProbe
from posefix.formats.registry import FORMATS, format_named, format_of, sniff
from posefix.formats.source import Source, as_held, refinable, with_refined_rows

__all__ = [
    "FORMATS",
    "FileProbe",
    "Format",
    "ImageIndex",
    "ParsedFile",
    "Source",
    "as_held",
    "fitted",
    "format_named",
    "format_of",
    "read",
    "refinable",
    "sniff",
    "with_refined_rows",
    "writable",
    "write",
]
