"""Image files: their sizes, the buckets they belong to, and their pixels."""
