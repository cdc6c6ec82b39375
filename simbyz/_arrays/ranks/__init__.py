"""Ranks: sorting networks over few rows, searches among many rows and in long ones."""
