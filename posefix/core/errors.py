"""What goes wrong because of what the user gave us, said in one sentence."""

from __future__ import annotations


class InputError(ValueError):
    """A file, record, image, checkpoint or option that cannot be used.

    The message is one sentence for the person who made the input: which file, which record, what was found, what was
    expected. Commands print it and exit with code 2; library users catch it as a ``ValueError``.
    """
