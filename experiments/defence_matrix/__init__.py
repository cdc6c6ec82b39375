"""Which defence holds, for how many attackers and how different data, under its worst attack?

For each rule, pre-aggregator, number f of attackers and heterogeneity of the workers' data, the
hyperparameters are those whose worst attack leaves the highest accuracy on a validation split, the
choice of a server that must not know the attack. Reported is the accuracy on the test set under the
attack that is then worst.
"""
