"""What is timed: rules, steps, runs, the grid, searches, memory."""
