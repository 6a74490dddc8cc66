"""Opening files that may be anything: bounded in size and time, one clear message for what is not what it should be."""
