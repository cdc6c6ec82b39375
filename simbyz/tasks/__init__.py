"""Tasks: a model on a data set, as pure functions, and problems of known constants."""

from simbyz.tasks.models import Conv, Dense, SmallConv, WideResNet
from simbyz.tasks.networks import VGG, CharTransformer, ResNet, ViT
from simbyz.tasks.problems import LogisticData, Problem, QuadraticData, logistic, quadratic
from simbyz.tasks.task import ImageData, Task, classification
from simbyz.tasks.triggered import backdoor_success_rate, with_triggered

__all__ = [
    "VGG",
    "CharTransformer",
    "Conv",
    "Dense",
    "ImageData",
    "LogisticData",
    "Problem",
    "QuadraticData",
    "ResNet",
    "SmallConv",
    "Task",
    "ViT",
    "WideResNet",
    "backdoor_success_rate",
    "classification",
    "logistic",
    "quadratic",
    "with_triggered",
]
