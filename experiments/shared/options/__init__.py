"""Options of command lines: how they are read, checked, and called otherwise."""
