"""A Serve application that has imported torch and answers nothing: the least memory that a sub-model can take."""

from ray import serve


@serve.deployment(ray_actor_options={"num_cpus": 1, "resources": {"floor": 1}})
class Floor:
    """A replica without a network."""

    def __init__(self) -> None:
        import torch

        self._torch = torch


app = Floor.bind()  # type: ignore[attr-defined]
