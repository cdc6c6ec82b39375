"""Synthetic problems whose constants are known, to check theory against the simulator.

Worker i minimises f_i, of which the mean over the h workers is f:

    L, μ    every eigenvalue of the Hessian of f lies in [μ, L]
    σ       a stochastic gradient of worker i is ∇f_i plus noise of E ||noise||² = σ²
    G, B    (1/h) Σ ||∇f_i - ∇f||² = G² + B² ||∇f||², at every point; ζ is G where B = 0

They hold exactly, not as bounds, up to rounding.
"""

from simbyz.tasks.problems.logistic import LogisticData, logistic
from simbyz.tasks.problems.problem import Problem
from simbyz.tasks.problems.quadratic import QuadraticData, quadratic

__all__ = ["LogisticData", "Problem", "QuadraticData", "logistic", "quadratic"]
