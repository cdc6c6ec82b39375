"""A grid as jobs of a Slurm cluster."""
