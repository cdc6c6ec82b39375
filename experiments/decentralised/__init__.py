"""Without a server: which rule keeps honest nodes learning on which graph, and at which node not?

Each honest node has data and a model of its own, hears its neighbours alone, and some of them lie:
each tells every neighbour what does that one most harm. Gaucher, Dieuleveut and Hendrikx (Unified
breakdown analysis for Byzantine robust gossip, ICML 2025) bound the attackers that any rule can
bear by the honest graph's algebraic connectivity, and find that clipping around a node's own model
(CS+) holds where the nearest neighbours' average (NNA) does not, above all against an attack along
the graph's bottleneck.
"""
