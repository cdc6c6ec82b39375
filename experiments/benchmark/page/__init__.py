"""The page on the runs that are kept with the benchmark: every number in it is of their tables."""
