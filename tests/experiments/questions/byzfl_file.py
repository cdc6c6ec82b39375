"""A configuration file of ByzFL's benchmark, small enough for tests."""

import copy
import json
from pathlib import Path

FILE = {
    "benchmark_config": {
        "training_algorithm": {"name": "DSGD", "parameters": {}},
        "nb_steps": 6,
        "device": "cuda",
        "training_seed": 3,
        "nb_training_seeds": 2,
        "nb_honest_clients": 3,
        "f": [1],
        "data_distribution_seed": 0,
        "nb_data_distribution_seeds": 1,
        "data_distribution": [
            {"name": "gamma_similarity_niid", "distribution_parameter": [1.0, 0.0]}
        ],
    },
    "model": {
        "name": "fc_mnist",
        "dataset_name": "digits",
        "nb_labels": 10,
        "loss": "NLLLoss",
        "learning_rate": [0.1, 0.5],
        "learning_rate_decay": 1.0,
        "milestones": [],
    },
    "aggregator": [{"name": "TrMean", "parameters": {}}],
    "pre_aggregators": [{"name": "Clipping", "parameters": {}}, {"name": "NNM", "parameters": {}}],
    "honest_clients": {"momentum": 0.9, "weight_decay": 0.0001, "batch_size": 4},
    "attack": [{"name": "SignFlipping", "parameters": {}}],
    "evaluation_and_results": {
        "evaluation_delta": 3,
        "batch_size_evaluation": 128,
        "evaluate_on_test": True,
        "store_per_client_metrics": True,
        "store_models": False,
        "data_folder": "./data",
        "results_directory": "./results",
    },
}


def changed(path: str, value) -> dict:
    """The file with another value at section.key."""
    file, (*sections, key) = copy.deepcopy(FILE), path.split(".")
    place = file
    for section in sections:
        place = place[section]
    place[key] = value
    return file


def written(tmp_path: Path, file: dict) -> Path:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(file))
    return path
