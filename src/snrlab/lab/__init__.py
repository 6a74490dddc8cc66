"""Tables, figures and reports of recipes and runs; works without torch."""
