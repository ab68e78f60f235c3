"""An ensemble in real containers, from its RayService, under load and with faults.

    python examples/containers/run.py BUNDLE [--clients 16] [--partition 30] [--seconds 10]

The images are those of `raysplit image BUNDLE --name localhost/raysplit`, the RayService that of `raysplit kuberay`
with the cluster's state in Redis. One container for each pod, with its command, environment and limits, as KubeRay
would start it; `cluster.py` does what KubeRay and kubelet do. All clients send requests all the time, check each answer
against a prediction in this process, and repeat a request once if it fails. The last line is one JSON object; it is
also written to benchmarks/results/containers.json. Needs root and Podman.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from ipaddress import IPv4Network
from pathlib import Path

import yaml
from clients import Clients, Outcome
from cluster import Cluster
from podman import Network, build_revision, find_obstacle, image_mib

from raysplit.containers.parts import Application, plan_application
from raysplit.containers.policies import REDIS_SECRET
from raysplit.containers.rayservice import render_rayservice
from raysplit.containers.serve_config import ServingOptions
from raysplit.ensemble.bundle import load_ensemble

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))
_START_S, _RECOVER_S = 480.0, 240.0
_PATH = "/v2/models/raysplit/infer"
FAULTS = {
    "killed": "a sub-model's container is killed",
    "partitioned": "a sub-model is off the network for {:g} s",
    "head": "the head is killed",
    "replaced": "a sub-model's image is replaced",
    "scaled": "a sub-model is scaled from 1 to 3 and back",
}
"""What is done to the cluster."""


@dataclass(frozen=True)
class Row:
    """What clients saw during a fault and until there was no problem any more, and afterwards."""

    fault: str
    during: Outcome
    after: Outcome
    recovered_s: float
    """Seconds from the fault to the last problem."""
    losses: tuple[str, ...]
    """What the attempts of each lost request met."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", help="of an ensemble, whose images are built")
    parser.add_argument("--images", default="localhost/raysplit", help="what their names begin with")
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--partition", type=float, default=30.0, help="seconds that one container is off the network")
    parser.add_argument("--seconds", type=float, default=10.0, help="of load before and after each fault")
    parser.add_argument("--redis", default="docker.io/library/redis:7.4-alpine", help="an image with redis-server")
    parser.add_argument("--faults", nargs="*", choices=FAULTS, default=list(FAULTS), help="in this order; default all")
    parser.add_argument("--results", default=str(ROOT / "benchmarks/results"), help="folder for containers.json")
    args = parser.parse_args()
    if (obstacle := find_obstacle()) is not None:
        raise SystemExit(f"skipped: {obstacle}")
    ensemble = load_ensemble(args.bundle)
    app = plan_application(ensemble, args.images)
    manifest = yaml.safe_load(render_rayservice(app, ServingOptions({})))
    add_redis(manifest)
    floor = str(Path(__file__).with_name("floor.py"))
    network = Network("raysplit-example", IPv4Network("10.89.77.0/24"))
    cluster = Cluster(manifest, network, args.redis, volumes=[f"{floor}:/opt/floor/floor.py:ro"])
    try:
        began = time.monotonic()
        cluster.start(_START_S)
        cluster.submit(cluster.config)
        cluster.wait_until_running(_START_S)
        print(f"{len(cluster.containers)} containers, running after {time.monotonic() - began:.0f} s", flush=True)
        clients = Clients(f"{cluster.url()}{_PATH}", cluster.key, ensemble, args.clients)
        clients.start()
        clients.wait_until_healthy(_START_S)
        clients.take()
        faults = list_faults(cluster, app, args.partition)
        rows = [observe(clients, cluster, "none", lambda: None, args.seconds)]
        print(format_row(rows[-1]), flush=True)
        for fault in args.faults:
            rows.append(observe(clients, cluster, FAULTS[fault].format(args.partition), faults[fault], args.seconds))
            print(format_row(rows[-1]), flush=True)
            save_result(rows, clients.count, {}, app, Path(args.results))  # what there is, if a fault is not survived
        clients.stop()
        memory = measure_memory(cluster, app)
        print("at rest: " + ", ".join(f"{name} {mib:.0f} MiB" for name, mib in memory.items()), flush=True)
        save_result(rows, clients.count, memory, app, Path(args.results))
    finally:
        cluster.stop()


def add_redis(manifest: dict[str, dict[str, dict[str, object]]]) -> None:
    """Keep the cluster's state in Redis, as the overlays `edge` and `production` do."""
    password = {"valueFrom": {"secretKeyRef": {"name": REDIS_SECRET, "key": "password"}}}
    options = {"redisAddress": "ensemble-redis:6379", "redisPassword": password}
    manifest["spec"]["rayClusterConfig"]["gcsFaultToleranceOptions"] = options


def measure_memory(cluster: Cluster, app: Application) -> dict[str, float]:
    """Return the memory at rest of each pod and of the floor, in 2**20 bytes."""
    group = app.submodels[0].group
    first = next(pod for pod in cluster.pods.values() if pod.group == group)
    pod = dataclasses.replace(
        first,
        name="floor-0",
        group="floor",
        image=app.names.server,
        command=first.command.replace(group, "floor"),
        environment={**first.environment, "PYTHONPATH": "/opt/floor"},
    )
    cluster.add(pod)
    environment = {"env_vars": {"PYTHONPATH": "/opt/floor"}}
    floor = {"name": "floor", "route_prefix": "/floor", "import_path": "floor:app", "runtime_env": environment}
    config = cluster.config
    cluster.submit({**config, "applications": [*config["applications"], floor]})
    time.sleep(30.0)  # its replica starts, and what the others did at their start has ended
    cluster.wait_until_running(_START_S)
    memory = {name: container.memory_mib() for name, container in cluster.containers.items()}
    cluster.submit(config)
    cluster.delete("floor-0")
    return memory


def list_faults(cluster: Cluster, app: Application, partition_s: float) -> dict[str, Callable[[], None]]:
    """Return what is done to the cluster, by name."""
    one, other = f"{app.submodels[0].group}-0", f"{app.submodels[1].group}-0"

    def partition() -> None:
        cluster.containers[other].set_link(up=False)
        time.sleep(partition_s)
        cluster.containers[other].set_link(up=True)

    def set_replicas(deployment: str, count: int) -> None:
        config = cluster.config
        for entry in config["applications"][0]["deployments"]:
            if entry["name"] == deployment:
                entry["num_replicas"] = count
        cluster.submit(config)
        cluster.wait_until_running(_RECOVER_S)

    def replace() -> None:
        part = app.submodels[-1]
        old = f"{part.group}-0"
        build_revision(part.image, f"{part.image}-1")
        cluster.add(dataclasses.replace(cluster.pods[old], image=f"{part.image}-1").numbered(1))
        cluster.wait_for_nodes(len(cluster.pods), _RECOVER_S)
        cluster.delete(old)

    def scale() -> None:
        part = app.submodels[0]
        for number in (1, 2):
            cluster.add(cluster.pods[f"{part.group}-0"].numbered(number))
        set_replicas(part.deployment, 3)
        if (count := cluster.count_replicas(part.deployment)) != 3:
            raise SystemExit(f"{part.deployment} has {count} replicas, not 3")
        set_replicas(part.deployment, 1)
        for name in cluster.list_pods_without_replica(part.group, part.deployment):
            cluster.delete(name)

    return {
        "killed": cluster.containers[one].kill,
        "partitioned": partition,
        "head": cluster.containers["head"].kill,
        "replaced": replace,
        "scaled": scale,
    }


def observe(clients: Clients, cluster: Cluster, name: str, fault: Callable[[], None], seconds: float) -> Row:
    """Inject a fault under load; count what clients saw until there was no problem any more, and afterwards."""
    time.sleep(seconds)
    injected = time.monotonic()
    fault()
    time.sleep(2.0)
    cluster.wait_for_nodes(len(cluster.pods), _RECOVER_S)
    cluster.wait_until_running(_RECOVER_S)
    last_problem = clients.wait_until_healthy(_RECOVER_S)
    during, losses = clients.take()
    time.sleep(seconds)
    after, later = clients.take()
    return Row(name, during, after, max(0.0, last_problem - injected), (*losses, *later))


def format_row(row: Row) -> str:
    """Return a row of the table."""
    during, after = row.during, row.after
    return (
        f"{row.fault:46} requests {during.requests + after.requests:6} lost {during.lost + after.lost:3} "
        f"wrong {during.wrong + after.wrong:3} repeated {during.repeated + after.repeated:4} "
        f"degraded {during.degraded:5} afterwards {after.degraded:3} well again after {row.recovered_s:5.1f} s"
    )


def save_result(rows: list[Row], clients: int, memory: dict[str, float], app: Application, folder: Path) -> None:
    """Write the result, and once there is all of it, print it as one line."""
    from meta import meta, save

    server = image_mib(app.names.server)
    seen = [vars(outcome).values() for row in rows for outcome in (row.during, row.after)]
    total = Outcome(*map(sum, zip(*seen, strict=True)))
    rest = [mib for name, mib in memory.items() if not name.startswith(("head", "ingress", "floor"))]
    result = {
        "requests": total.requests,
        "lost": total.lost,
        "wrong": total.wrong,
        "degraded": total.degraded,
        "faults": [asdict(row) for row in rows],
        "image_added_mib": [round(image_mib(part.image) - server, 3) for part in app.submodels],
        "weights_mib": [round(part.weights_mib, 3) for part in app.submodels],
        "server_image_mib": round(server),
        "rest_gib": round(max(rest) / 1024, 3) if rest else None,
        "floor_gib": round(memory["floor-0"] / 1024, 3) if rest else None,
    }
    save("containers", {"meta": meta([0]), "clients": clients, **result}, folder)
    if rest:
        print(json.dumps({key: value for key, value in result.items() if key != "faults"}))


if __name__ == "__main__":
    main()
