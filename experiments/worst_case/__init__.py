"""How bad can a rule get, at worst, beside what is proved of it?

(f, κ)-robustness bounds the squared distance of the aggregate from the honest mean by κ times the
honest rows' mean squared deviation. No rule has a κ below f/(n - 2f); for some rules an upper bound
is proved (`simbyz.theory.sharp`; Allouah et al., Fixing by mixing, AISTATS 2023). A search over
whole configurations, honest rows included, finds how much of that is reached: a lower bound on a
rule's κ, with the rows that show it.
"""
