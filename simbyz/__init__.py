"""A simulator of distributed SGD under Byzantine workers: all workers in one process, on JAX."""

from simbyz import aggregators, attacks, data, metrics, models, preaggregators, training

__all__ = ["aggregators", "attacks", "data", "metrics", "models", "preaggregators", "training"]
