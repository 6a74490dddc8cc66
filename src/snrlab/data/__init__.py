"""Images and captions: the user's folders, and the emoji that ship with the package."""
