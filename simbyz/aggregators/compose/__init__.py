"""Rules made of rules: behind pre-aggregators, and inside optax."""
