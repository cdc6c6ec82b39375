"""The report's words whatever the runs are: its head, how to read it, where the runs differ."""

HEAD = """# Distributed momentum: what our runs say about the paper's claim

*Distributed Momentum for Byzantine-resilient Stochastic Gradient Descent* (El-Mhamdi, Guerraoui,
Rouault, ICLR 2021) runs 736 configurations with 5 seeds each. With `ref` the highest top-1 test
accuracy of the unattacked run of the same seed, `upd` that of the attacked run with momentum at the
update and `wrk` that with momentum at the workers, an attack costs `ref - upd`, and momentum at the
workers gains `wrk - upd`. This file is written by

```sh
python -m experiments.distributed_momentum collect --results FOLDER ...
python -m experiments.distributed_momentum report
```

from the table of runs beside it (`data/runs.parquet`, one row a run).
"""

METHOD = """## How to read the numbers

A pair is one attacked configuration and one seed, both places of momentum and the unattacked run
of that seed. Brackets hold 95 % intervals of a paired bootstrap over seeds: a resample draws as
many seeds as there are, with replacement, and each brings all its runs along; with five seeds all
126 different resamples are weighed by their probability. The configurations are not resampled. With
five seeds such intervals are too narrow (they hold the mean of five normal values 85 % of the
time): take them as a lower bound of the uncertainty. *Supported*, *not supported* and *not decided*
are said of the part of the grid that has been run.
"""

DEVIATIONS = """## Where these runs depart from the paper's

- Seeds 1 to 5 are not the program's: another generator draws initial weights and batches. Agreement
  is in distribution (the README compares 30 runs of the released program).
- Defaults are the released program's, not the paper's text: plain distances and `n - f - 1`
  neighbours in Krum, which averages `n - f - 2` rows; scores that are never updated in Bulyan; the
  l2 factor squared; gradients in inference mode (no dropout, batch norm with its initial
  statistics).
- Evaluations do not draw from the stream of the training order, as they do in the program.
- Single precision on the device named in the table of runs; the program's runs were on GPUs.
- The bound of the variance-norm condition is known for krum, bulyan and median only; for trmean,
  phocas and meamed the paper gives none, so no share is reported for them.
- Wall times in the table were taken on a machine that did other work too: they say nothing about
  speed.
"""
