"""The parts of the page that no table decides."""

HEAD = """# Which rule holds: the benchmark

```sh
python -m experiments.benchmark                              # every rule on digits: no download
python -m experiments.benchmark --rule mypackage.myrule:my_rule      # yours beside them, in minutes
python -m experiments.benchmark --full --dry-run             # all of the table of digits: how long
python -m experiments.benchmark --full --shard 1/2           # one half of it, the other elsewhere
python -m experiments.report experiments/benchmark/data --allow-mixed  # the kept tables as a page
```

Every rule of the library against an attack of each family, at several f and kinds of data, with
momentum 0.9 at the workers. A server does not know the attack: the learning rate of each rule, f
and kind of data is the one whose worst attack leaves the highest accuracy on a validation split
(a fifth of the training images). What is reported is the accuracy on the test set, at that rate,
under the attack that is worst there.
Rules and attacks are the library's defaults but for what stands in
`experiments/benchmark/entries/catalogue.py`. `fltrust` judges by {root_examples} training images
that the server holds, too.
"""
OWN = """## A rule of your own

```python
# mypackage/myrule.py, in the folder that you start in, or installed
import jax.numpy as jnp


def my_rule(updates, f):  # (n, d), f -> (d,)
    return jnp.sort(updates, axis=0)[len(updates) // 2]
```

`--rule mypackage.myrule:my_rule` trains it alone; the others come from your results, or from the
runs that are kept here. `--attack mypackage.mine:my_attack` likewise, of (key, honest,
num_byzantine) -> (num_byzantine, d). A rule may ask for a `key` or for `trusted`, a gradient on the
server's own examples, refuse an (n, f) by a ValueError, or be a `StatefulRule`. A change of its
file is a new rule.
"""
LEFT_OUT = """## What is left out, and why

All combinations of rules, pre-aggregators, attacks, f, data, momentum, learning rates and seeds
would be {all_of_them:,} runs, those that a rule refuses among them. `--full` is the union of
`experiments/benchmark/entries/parts.py`, each part a grid that answers a question of this page. So
attacks beside those of each family,
pre-aggregators and momentum 0 have two f on one kind of data, and none of them meets another; the
two attacks that search along a line through the rule have one f. The climb along the rule's
gradient costs 4,000 times the rule a step, and is tried on seven rules: `--attack gradient_ascent`
trains others under it, and [how far it gets](attack-strength.md) in a step is asked elsewhere.
`zeno`, `loss_function_rejection` and the rules with a memory of each worker are no branches of one
program, and are not here.
"""
READING = """## How to read it

- f counts the attackers present and those tolerated, among all n workers; Byzantine workers hold
  a share of the data, too, which they use under `none` and, mislabelled, under `label_flipping`.
- `iid`: all workers draw from the same data. `dirichlet:1`, `dirichlet:0.1`: each class is shared
  among the workers by a Dirichlet law; the smaller its number, the more their data differ.
- Before a rule: `nnm` is `nearest_neighbor_mixing`, `arc` is `adaptive_robust_clipping`.
- Intervals are of differences seed by seed, 95 % by Student's t; with three seeds they are wide.
  The worst attack is chosen by the accuracies that are reported, so that these are a little too
  low, most where several attacks are close.
- The attacks of the ranking, one of each family, send rows of about the size of the honest ones, as
  an attacker does who must not be noticed, but for `gaussian`, a standard normal number in each
  coordinate; a row of NaN, which ruins `average`, is among all attacks.
- A rule *breaks* at the smallest f tried at which its worst accuracy is below half of the best
  unattacked accuracy of any rule on the same data.
- Step times are the runs' own, gradients and all, on one core: the least of each rule's sweeps.
  What a rule itself takes is about its difference to `average`.
- Some are others here by their defaults: `layerwise_centered_clipping`, which is told no layers, is
  `norm_bounded_mean`, and `sparse` without a mask is `a_little_is_enough`.
- All rules and attacks of an f are branches of one compiled program, which each lane goes through
  by numbers of its own. A run's bits depend neither on what else is in the program nor on the lanes
  beside it.
"""
POISONING = """### {question}

Where data differ between workers, and Byzantine ones do no more than mislabel theirs, the mean is
more robust than robust rules, say Peng, Li and Ling (JMLR 26(27), 2025). Here is each rule beside
`average`, at the learning rate that is best for it under the threat alone ({attacks}); *better* and
*worse* are beyond the noise of {seeds} seeds:
"""
THREATS = {"labels": "flipped labels", "gradients": "made-up gradients"}
