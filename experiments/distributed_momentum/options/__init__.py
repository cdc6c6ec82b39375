"""Options of each command, and what its --help says of it; none of these imports what computes."""
