"""Which attack moves which rule most, on what honest workers of a real training run send?"""
