"""The documentation site: staged pages, pictures, references, checks (scripts/build_docs.py runs it)."""
