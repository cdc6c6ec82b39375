"""What the runs say: from their table to rankings and comparisons."""
