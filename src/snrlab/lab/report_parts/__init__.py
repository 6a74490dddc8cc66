"""Parts of a run's report: its content, facts, first sentences, sample pictures and changed settings."""
