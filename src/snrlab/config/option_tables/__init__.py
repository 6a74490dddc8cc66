"""Options of other trainers, one table for each trainer."""
