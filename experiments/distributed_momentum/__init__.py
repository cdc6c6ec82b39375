"""Does momentum at the workers, instead of at the server, mend the defences that two attacks break?

The experiment of El-Mhamdi, Guerraoui and Rouault, Distributed Momentum for Byzantine-resilient
Stochastic Gradient Descent, ICLR 2021. Their claim: momentum at the workers lowers the
variance-norm ratio of what the server sees; where an attack costs more than 20 % of accuracy, it
then always gains accuracy, and more than 20 % in most cases.
"""
