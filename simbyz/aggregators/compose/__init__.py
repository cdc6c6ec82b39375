"""Rules made of rules: behind pre-aggregators, layer by layer, by chance, and inside optax."""
