"""A check of an accelerator in one command: right, fast, and how long the paper's grid takes."""
