"""Pages, tables and pictures from the numbers of runs."""
