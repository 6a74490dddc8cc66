"""kohya's sd-scripts and the programs that write its settings."""
