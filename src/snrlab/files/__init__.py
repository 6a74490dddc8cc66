"""Safe reading and writing of files: bounded in size and time, whole or not at all, with clear errors."""
