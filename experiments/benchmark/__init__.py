"""Which rule holds under its worst attack, for how many attackers and how different data?

Every rule of the library, alone and behind pre-aggregators, against an attack of each family, with
momentum at the workers. The learning rate of each rule, number f of attackers and heterogeneity is
the one whose worst attack leaves the highest accuracy on a validation split; reported is the
accuracy on the test set under the attack that is then worst. A rule or an attack of one's own
stands in the same table. `--full` asks more: which attack is the worst, and what pre-aggregators,
momentum at the workers and a search through the rule add.
"""
