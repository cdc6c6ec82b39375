"""What a configuration file of ByzFL's benchmark gives here: its runs, its table, its heatmaps.

The file is that of ByzFL 0.0.11, unchanged: `python -m experiments.from_byzfl config.json`. Rules,
pre-aggregators and attacks are this library's, at ByzFL's conventions; hyperparameters are chosen
as ByzFL chooses them, by the worst attack on a validation split, each run at the best of its
evaluations.
"""
