"""One HTML page to explore finished runs: the grid's heatmap, curves, and every run's command."""
