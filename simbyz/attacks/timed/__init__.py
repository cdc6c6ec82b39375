"""Attacks in time: some steps only, or by what past steps led to."""
