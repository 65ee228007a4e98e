"""Poses in depth: networks that lift tracks, training on motion capture, measures, files, joint angles."""
