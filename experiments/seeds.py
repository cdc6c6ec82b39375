"""The seeds that every experiment takes."""

from collections.abc import Sequence


def check_seeds(seeds: Sequence[int]) -> None:
    """Raises ValueError if there are none, one is not from 0 to 2^31 - 1, or two are the same."""
    if not seeds:
        raise ValueError("seeds must name at least one seed")
    if any(not 0 <= seed < 2**31 for seed in seeds):
        raise ValueError(f"seeds must be from 0 to 2^31 - 1, got {list(seeds)}")
    if len(set(seeds)) < len(seeds):
        raise ValueError(f"seeds must differ from each other, got {list(seeds)}")
