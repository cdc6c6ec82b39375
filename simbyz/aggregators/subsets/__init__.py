"""Rules that average the best of all subsets of n - f rows, and how that subset is found."""
