"""What does it cost to tolerate more Byzantine workers than there are, or fewer?

A rule is told a number f̂, and f Byzantine workers are there. For f̂ ≥ f no rule that is exact on n -
f̂ workers that agree has a squared error below f̂ / (n - f - f̂) of the honest workers' heterogeneity
ζ²: at f̂ = f the known floor f / (n - 2f), above it the price of caution. For f̂ < f nothing is
promised of the rule (arXiv 2510.04432: the optimal error is proportional to that coefficient, and
unbounded below f; of that paper the abstract alone could be read).
"""
