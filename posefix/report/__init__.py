"""What a person looks at: pictures, videos, tables."""
