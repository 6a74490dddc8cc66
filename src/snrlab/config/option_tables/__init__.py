"""Tables of the options of other trainers, one for each trainer."""
