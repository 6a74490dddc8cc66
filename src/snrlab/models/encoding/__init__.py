"""Images to latents, captions to embeddings, and the cache of both."""
