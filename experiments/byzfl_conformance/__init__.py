"""Does a run of ByzFL's benchmark end as well here as there, and how much faster is a sweep of it?

The published default configuration of ByzFL 0.0.11 on MNIST: its convolutional network, ten honest
workers and f Byzantine ones, data of γ-similarity, momentum 0.9 at the workers, the trimmed mean
after nearest-neighbour mixing, its attacks. Run by ByzFL's own clients, server, attacks and data
distributor, and by the simulator.
"""
