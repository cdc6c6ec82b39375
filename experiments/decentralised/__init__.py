"""Without a server: which rule keeps honest nodes learning on which graph, and at which node not?

Each honest node has data and a model of its own, hears its neighbours alone, and some of them lie:
each tells every neighbour what does that one most harm. Gaucher, Dieuleveut and Hendrikx (Unified
breakdown analysis for Byzantine robust gossip, ICML 2025) find that clipping and trimming around a
node's own model hold until the Byzantine neighbours are as many as half of the honest graph's
algebraic connectivity, and that an attack along the graph's bottleneck breaks earlier what other
attacks leave whole.
"""
