"""Model files: headers, metadata, recognition and inspection. Needs no torch and loads no weights."""
