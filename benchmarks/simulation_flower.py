"""Flower's side of `benchmarks/simulation.py`, which runs this file in Flower's own environment.

It trains by FedAvg with Flower's simulation engine, round N when there is a file `goN` in the folder that
`RAYSPLIT_SIMULATION` names, and writes its seconds into the file `doneN`. Network and shards are loaded once in each of
Flower's workers.
"""

from __future__ import annotations

import json
import os
import time
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from flwr.client import ClientApp, NumPyClient
from flwr.common import Context, ndarrays_to_parameters
from flwr.server import ServerApp, ServerAppComponents, ServerConfig
from flwr.server.strategy import FedAvg
from flwr.simulation import run_simulation
from simulation_net import BATCH, LR, make_net
from torch import nn
from torch.nn.functional import cross_entropy

Array = npt.NDArray[Any]
FOLDER = Path(os.environ["RAYSPLIT_SIMULATION"])
SETTINGS = json.loads((FOLDER / "settings.json").read_text())


@cache
def load() -> tuple[nn.Module, Array, Array, Array]:
    """Return network, images (N, 1, 28, 28), labels, and where each device's begin."""
    torch.set_num_threads(1)
    images = np.load(FOLDER / "images.npy", mmap_mode="r")
    return make_net(), images, np.load(FOLDER / "labels.npy"), np.load(FOLDER / "starts.npy")


class Client(NumPyClient):  # type: ignore[misc]
    """A device: its shard, and plain SGD over it."""

    def __init__(self, device: int):
        self.device = device

    def fit(self, parameters: list[Array], config: dict[str, Any]) -> tuple[list[Array], int, dict[str, Any]]:
        net, images, labels, starts = load()
        with torch.no_grad():
            for weight, value in zip(net.parameters(), parameters, strict=True):
                weight.copy_(torch.from_numpy(value))
        rows = slice(int(starts[self.device]), int(starts[self.device + 1]))
        x = torch.from_numpy(np.array(images[rows])).float().div_(255).sub_(SETTINGS["mean"]).div_(SETTINGS["std"])
        y = torch.from_numpy(labels[rows])
        sgd = torch.optim.SGD(net.parameters(), lr=LR)
        for _ in range(SETTINGS["local_epochs"]):
            for batch in torch.randperm(len(y)).split(BATCH):
                sgd.zero_grad()
                cross_entropy(net(x[batch]), y[batch]).backward()
                sgd.step()
        return [weight.detach().numpy() for weight in net.parameters()], len(y), {}


class Timed(FedAvg):  # type: ignore[misc]
    """FedAvg that waits for a file before each round, and writes down how long the round took."""

    start = 0.0

    def configure_fit(self, server_round: int, parameters: Any, client_manager: Any) -> Any:
        while not (FOLDER / f"go{server_round}").exists():
            time.sleep(0.01)
        self.start = time.perf_counter()
        return super().configure_fit(server_round, parameters, client_manager)

    def aggregate_fit(self, server_round: int, results: Any, failures: Any) -> Any:
        found = super().aggregate_fit(server_round, results, failures)
        done = {"seconds": time.perf_counter() - self.start, "devices": len(results), "failures": len(failures)}
        part = FOLDER / f"done{server_round}.part"
        part.write_text(json.dumps(done))
        part.replace(FOLDER / f"done{server_round}")
        return found


def make_client(context: Context) -> Any:
    return Client(int(context.node_config["partition-id"])).to_client()


def make_server(context: Context) -> Any:
    start = ndarrays_to_parameters([weight.detach().numpy() for weight in make_net().parameters()])
    share = SETTINGS["per_round"] / SETTINGS["devices"]
    strategy = Timed(
        fraction_fit=share,
        fraction_evaluate=0.0,
        min_fit_clients=SETTINGS["per_round"],
        min_available_clients=SETTINGS["devices"],
        initial_parameters=start,
    )
    return ServerAppComponents(strategy=strategy, config=ServerConfig(num_rounds=SETTINGS["rounds"]))


def run() -> None:
    """Train all rounds."""
    run_simulation(
        ServerApp(server_fn=make_server),
        ClientApp(client_fn=make_client),
        num_supernodes=SETTINGS["devices"],
        backend_config={"client_resources": {"num_cpus": 1, "num_gpus": 0.0}},
    )
