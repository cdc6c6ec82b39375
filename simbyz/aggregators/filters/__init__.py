"""Rules that keep some of the rows and average those."""
