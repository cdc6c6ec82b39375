"""Measurements: rules, steps, runs, the grid, searches, memory."""
