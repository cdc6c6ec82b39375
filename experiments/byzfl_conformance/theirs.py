"""ByzFL's side: its clients, server, attacks and data distributor, in the order of its training."""

import importlib
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from experiments.byzfl_conformance.ours import Outcome
from experiments.byzfl_conformance.setting import ATTACKS, Setting
from experiments.shared.load_byzfl import load_byzfl
from simbyz.data import Dataset


def tensors(dataset: Dataset, images: np.ndarray, labels: np.ndarray) -> Any:
    """A torch data set of the images as the network takes them, with `targets`."""
    _, torch = load_byzfl()
    scaled = images.transpose(0, 3, 1, 2) / np.float32(dataset.scale)
    inputs = (scaled - np.float32(dataset.mean[0])) / np.float32(dataset.deviation[0])
    targets = torch.from_numpy(labels.astype(np.int64))
    result = torch.utils.data.TensorDataset(torch.from_numpy(inputs), targets)
    result.targets = targets.numpy()
    return result


class Training:
    """ByzFL's server, honest clients and Byzantine client, to be taken a step at a time."""

    def __init__(self, setting: Setting, dataset: Dataset, seed: int, loaders: Any = None):
        """loaders: one a client; drawn by ByzFL's data distributor if None."""
        byzfl, torch = load_byzfl()
        training = tensors(dataset, dataset.train_images, dataset.train_labels)
        test = tensors(dataset, dataset.test_images, dataset.test_labels)
        seed_all = importlib.import_module("byzfl.utils.misc").set_random_seed
        if loaders is None:
            seed_all(0)  # the partition is the same for all seeds
            loaders = byzfl.DataDistributor(
                {
                    "data_distribution_name": "gamma_similarity_niid",
                    "distribution_parameter": float(setting.gamma),
                    "nb_honest": setting.honest,
                    "data_loader": torch.utils.data.Subset(training, list(range(len(training)))),
                    "batch_size": setting.batch_size,
                }
            ).split_data()
        seed_all(seed)
        common = {
            "model_name": "cnn_mnist",
            "device": "cpu",
            "optimizer_name": "SGD",
            "learning_rate": setting.learning_rate,
            "weight_decay": setting.weight_decay,
            "milestones": [],
            "learning_rate_decay": 1.0,
        }
        defence = {
            "aggregator_info": {"name": "TrMean", "parameters": {"f": setting.f}},
            "pre_agg_list": [{"name": "NNM", "parameters": {"f": setting.f}}],
        }
        name, options = ATTACKS[setting.attack]
        parameters = options | {"f": setting.f, "evals": setting.evaluations} | defence
        loader = torch.utils.data.DataLoader(test, batch_size=1000)
        self.server = byzfl.Server(common | defence | {"test_loader": loader})
        self.clients = [
            byzfl.Client(
                common
                | {
                    "loss_name": "NLLLoss",
                    "LabelFlipping": False,
                    "nb_labels": 10,
                    "momentum": setting.momentum,
                    "training_dataloader": loader,
                    "store_per_client_metrics": False,
                }
            )
            for loader in loaders
        ]
        self.byzantine = byzfl.ByzantineClient(
            {"name": name, "f": setting.f, "parameters": parameters}
        )
        self.share_model()

    def share_model(self) -> None:
        for client in self.clients:
            client.set_model_state(self.server.get_dict_parameters())

    def step(self) -> float:
        """One step; the mean of the honest losses."""
        loss = np.mean([client.compute_gradients() for client in self.clients])
        honest = [client.get_flat_gradients_with_momentum() for client in self.clients]
        self.server.update_model_with_gradients(honest + self.byzantine.apply_attack(honest))
        self.share_model()
        return float(loss)

    def parameters(self) -> np.ndarray:
        """(d,), in the layout of `simbyz.tasks.models.SmallConv`, raveled."""
        state = {name: leaf.numpy() for name, leaf in self.server.get_dict_parameters().items()}
        first = state["_f1.weight"].reshape(500, 50, 4, 4).transpose(0, 2, 3, 1).reshape(500, 800)
        leaves = []
        for layer in ("_c1", "_c2"):
            kernel = state[f"{layer}.weight"].transpose(2, 3, 1, 0)
            leaves += [state[f"{layer}.bias"], kernel]
        leaves += [state["_f1.bias"], first, state["_f2.bias"], state["_f2.weight"]]
        return np.concatenate([leaf.ravel() for leaf in leaves])


def run(setting: Setting, dataset: Dataset, seeds: Sequence[int]) -> Outcome:
    """Train with one seed after the other, torch on one thread.

    Raises:
      ImportError: without ByzFL.
    """
    _, torch = load_byzfl()
    torch.set_num_threads(1)
    accuracies, cpu, preparation, diverged = [], 0.0, 0.0, 0
    for seed in seeds:
        began = time.process_time()
        training = Training(setting, dataset, seed)
        ready = time.process_time()
        for _ in range(setting.steps):
            training.step()
        cpu += time.process_time() - ready
        accuracies.append(training.server.compute_test_accuracy())
        preparation += ready - began
        diverged += not np.isfinite(training.parameters()).all()
    return Outcome(np.asarray(accuracies), cpu, preparation, diverged)
