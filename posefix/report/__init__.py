"""Pictures, videos, tables and the HTML report."""
