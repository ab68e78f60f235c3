"""Asks a server with kserve's REST client and prints what it says as JSON: python kserve_client.py URL MODEL."""

import asyncio
import json
import sys

import numpy as np
from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig


async def ask(url: str, model: str) -> dict[str, object]:
    client = InferenceRESTClient(RESTConfig(protocol="v2"))
    said: dict[str, object] = {
        "live": await client.is_server_live(url),
        "ready": await client.is_server_ready(url),
        "model": await client.is_model_ready(url, model),
    }
    images = np.zeros((2, 1, 8, 8), np.uint8)
    for binary in (False, True):
        tensor = InferInput("images", list(images.shape), "UINT8")
        tensor.set_data_from_numpy(images, binary_data=binary)
        answer = await client.infer(url, InferRequest(model, [tensor]), model_name=model)
        said[f"binary={binary}"] = {output.name: output.as_numpy().tolist() for output in answer.outputs}
    await client.close()
    return said


print(json.dumps(asyncio.run(ask(*sys.argv[1:])), default=str))
