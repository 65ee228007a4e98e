"""Evaluation: COCO metrics, gains with confidence intervals, and diagnosis of errors."""
