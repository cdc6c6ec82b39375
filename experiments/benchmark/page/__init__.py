"""Tables and pictures, and the page on kept runs: every number in it is of their tables."""
