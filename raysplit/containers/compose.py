"""An ensemble's containers on one machine: a compose file, and the same as plain Podman commands."""

from __future__ import annotations

import json
import secrets
import shlex
from collections.abc import Sequence
from textwrap import indent

import yaml

from raysplit.containers.parts import Application
from raysplit.containers.pods import HEAD, PodContainer, SecretValue, list_pods, list_secrets
from raysplit.containers.rayservice import render_rayservice
from raysplit.containers.serve_config import ServingOptions, render_serve_config
from raysplit.utils.storage import Folder

_OPTIONS = ServingOptions({})
_DEPLOY = f"until serve deploy /serve.yaml --address http://{HEAD}:8265; do sleep 2; done"


def write_compose(app: Application, out: str, port: int = 8000) -> list[str]:
    """Write `compose.yaml`, `podman.sh`, `serve.yaml` and `.env` by path or URI, and return their names.

    `.env` has fresh keys: of the cluster, and of clients. The ingress listens at `port` of this machine alone. Raises
    ConfigError for a folder that cannot be written.
    """
    folder = Folder.at(out)
    pods = list_pods(yaml.safe_load(render_rayservice(app, _OPTIONS)))
    files = {
        "compose.yaml": render_compose(app, pods, port),
        "podman.sh": render_commands(app, pods, port),
        "serve.yaml": render_serve_config(app, _OPTIONS),
        ".env": "".join(f"{_variable(value)}={secrets.token_hex(32)}\n" for value in list_secrets(pods)),
    }
    folder.write_all({name: text.encode() for name, text in files.items()})
    return sorted(files)


def render_compose(app: Application, pods: Sequence[PodContainer], port: int) -> str:
    """Return the compose file of some pods, as YAML."""
    services = "".join(_render_service(pod, f"127.0.0.1:{port}:8000" if _is_entry(pod, app) else None) for pod in pods)
    [head, *_] = pods
    deploy = _DEPLOY_SERVICE.format(
        image=head.image, command=json.dumps(["/bin/bash", "-c", _DEPLOY]), environment=_environment(head)
    )
    return _COMPOSE.format(name=app.name, services=indent(services + deploy, "  "))


def render_commands(app: Application, pods: Sequence[PodContainer], port: int) -> str:
    """Return a shell script that starts some pods with Podman, for machines without compose."""
    lines = []
    for pod in pods:
        words = ["podman", "run", "--detach", "--name", f"{app.name}-{pod.name}", *container_options(pod, app.name)]
        if _is_entry(pod, app):
            words += ["--publish", f"127.0.0.1:{port}:8000"]
        words += [pod.image, "/bin/bash", "-c", pod.command]
        lines.append(_join(words, pod))
    [head, *_] = pods
    words = ["podman", "run", "--rm", "--network", app.name, "--volume", "./serve.yaml:/serve.yaml:ro"]
    words += [*_environment_options(head), head.image, "/bin/bash", "-c", _DEPLOY]
    names = " ".join(f"{app.name}-{pod.name}" for pod in pods)
    return _SCRIPT.format(name=app.name, port=port, names=names, commands="\n".join([*lines, _join(words, head)]))


def container_options(pod: PodContainer, network: str) -> list[str]:
    """Return the options of `podman run` that give a container what its pod has: limits, names, a read-only root."""
    return [
        *("--network", network, "--network-alias", pod.name, "--hostname", pod.name),
        *("--read-only", "--tmpfs", "/tmp:mode=1777", "--shm-size", str(pod.memory_bytes // 2)),
        *("--cap-drop", "ALL", "--security-opt", "no-new-privileges"),
        *("--cpus", f"{pod.cpus:g}", "--memory", str(pod.memory_bytes)),
        *_environment_options(pod),
    ]


def _environment_options(pod: PodContainer) -> list[str]:
    words = []
    for name, value in pod.environment.items():
        words += ["--env", f"{name}={value}" if isinstance(value, str) else f"{name}=${_variable(value)}"]
    return words


def _join(words: Sequence[str], pod: PodContainer) -> str:
    """Return a command for a shell, in which variables of `.env` are expanded."""
    expanded = {f"{name}=${_variable(v)}" for name, v in pod.environment.items() if isinstance(v, SecretValue)}
    return " ".join(f'"{word}"' if word in expanded else shlex.quote(word) for word in words)


def _is_entry(pod: PodContainer, app: Application) -> bool:
    return pod.name == f"{app.ingress.group}-0"


def _variable(value: SecretValue) -> str:
    """Return the variable of `.env` that stands for a value of a Secret."""
    return f"{value.secret}_{value.key}".upper().replace("-", "_").replace(".", "_")


def _environment(pod: PodContainer) -> str:
    def quote(value: str | SecretValue) -> str:
        return json.dumps(value if isinstance(value, str) else f"${{{_variable(value)}:?}}")

    return indent("".join(f"{name}: {quote(value)}\n" for name, value in pod.environment.items()), " " * 4)


def _render_service(pod: PodContainer, published: str | None) -> str:
    return _SERVICE.format(
        name=pod.name,
        image=pod.image,
        command=json.dumps(["/bin/bash", "-c", pod.command.replace("$", "$$")]),
        cpus=f"{pod.cpus:g}",
        memory=f"{pod.memory_bytes // 2**20}m",
        shared=f"{pod.memory_bytes // 2**21}m",
        environment=_environment(pod),
        ports=f'  ports: ["{published}"]\n' if published else "",
        depends="" if pod.name == HEAD else f"  depends_on: [{HEAD}]\n",
    )


_COMPOSE = """\
# The containers of an ensemble on one machine, as KubeRay would start them: podman compose up, or docker compose up.
# The keys are in .env; clients send RAYSPLIT_API_KEY as X-API-Key. Written by `raysplit compose`.
name: {name}
services:
{services}"""

_SERVICE = """\
{name}:
  image: {image}
  hostname: {name}
  command: {command}
  read_only: true
  tmpfs: ["/tmp:mode=1777"]
  shm_size: {shared}
  cap_drop: [ALL]
  security_opt: ["no-new-privileges"]
  cpus: {cpus}
  mem_limit: {memory}
  restart: on-failure
{depends}{ports}  environment:
{environment}"""

_DEPLOY_SERVICE = """\
deploy: # submits the Serve config, and ends
  image: {image}
  command: {command}
  read_only: true
  tmpfs: ["/tmp:mode=1777"]
  volumes: ["./serve.yaml:/serve.yaml:ro"]
  depends_on: [head]
  environment:
{environment}"""

_SCRIPT = """\
#!/bin/sh
# The containers of an ensemble on one machine, without compose: sh podman.sh; afterwards sh podman.sh stop.
# Written by `raysplit compose`.
set -eu
cd "$(dirname "$0")"
if [ "${{1-}}" = stop ]; then
    podman rm --force {names}
    podman network rm {name}
    exit
fi
. ./.env
podman network create {name}
{commands}
echo "http://127.0.0.1:{port}/ answers once all parts are there; the key of clients is RAYSPLIT_API_KEY in .env"
"""
