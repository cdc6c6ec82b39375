"""Rules made of rules: behind pre-aggregators, layer by layer, and inside optax."""
