"""Poses over time: tracks, filters, the sequence network, and measures for videos."""
