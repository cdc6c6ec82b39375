"""Which momentum holds: at the worker, delayed, compressed, doubled, normalised, variance-reduced?

The momentum algorithms of 2021 to 2026 on the same data, under the same attacks, behind the same
rule, with the same seeds: accuracy by steps, by gradients computed and by bits sent, and paired
differences to one of them, by default to plain momentum at the workers.
"""
