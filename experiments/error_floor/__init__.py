"""How close do robust rules come to the error that no rule can avoid when workers' data differ?

Let ζ² = (1/h) Σ ||∇f_i - ∇f||² over the h = n - f honest workers. Whatever the rule, there are f
Byzantine workers among n and data of heterogeneity ζ for which ||∇f||² ends at f/(n - 2f) ζ² or
above, if the rule is exact on workers that agree (Allouah et al., Fixing by mixing, AISTATS 2023,
and Robust distributed learning, NeurIPS 2023). That case is among those run: f honest workers hold
data of another kind than the other n - 2f, and the Byzantine ones behave like the latter. The
server then sees f and n - f equal rows, and cannot know which of the f are honest.
"""
