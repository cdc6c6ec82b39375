"""Tasks: a model on a data set, as pure functions, and problems of known constants."""

from simbyz.tasks.models import Conv, Dense, SmallConv, WideResNet
from simbyz.tasks.problems import LogisticData, Problem, QuadraticData, logistic, quadratic
from simbyz.tasks.task import ImageData, Task, classification

__all__ = [
    "Conv",
    "Dense",
    "ImageData",
    "LogisticData",
    "Problem",
    "QuadraticData",
    "SmallConv",
    "Task",
    "WideResNet",
    "classification",
    "logistic",
    "quadratic",
]
