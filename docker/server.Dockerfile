# Ray, Serve and raysplit: the head, the ingress and, with its weights on top, each sub-model. Built by `raysplit image`,
# which puts the wheel and the bundle's manifest and fusion into the context.
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS build
ARG TORCH=2.13.0
# A package index with torch. This one's needs no CUDA; the one of PyPI brings 4 GB of it along.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python3 -m venv /opt/raysplit \
    && /opt/raysplit/bin/pip install --no-deps --index-url "${TORCH_INDEX}" "torch==${TORCH}"
COPY server.lock /tmp/
RUN /opt/raysplit/bin/pip install --no-deps --require-hashes -r /tmp/server.lock \
    && rm -r /opt/raysplit/lib/python3*/site-packages/torch/include \
    && echo /opt/package > /opt/raysplit/lib/python3.11/site-packages/package.pth

# The package is a layer of its own: a new version of it leaves the gigabyte below it as it is.
FROM build AS package
COPY raysplit-*.whl /tmp/
RUN /opt/raysplit/bin/pip install --no-deps --no-index --target /opt/package /tmp/raysplit-*.whl

FROM ${BASE}
RUN useradd --uid 10001 --create-home raysplit
COPY --from=build /opt/raysplit /opt/raysplit
# KubeRay starts `ray` in a shell that may set PATH anew.
RUN ln -s /opt/raysplit/bin/ray /opt/raysplit/bin/serve /opt/package/bin/raysplit /usr/local/bin/
COPY --from=package /opt/package /opt/package
COPY bundle /bundle
# The root file system can be read-only: Ray writes to /tmp and /dev/shm alone.
ENV PATH=/opt/raysplit/bin:/usr/local/bin:/usr/bin:/bin \
    HOME=/tmp \
    PYTHONDONTWRITEBYTECODE=1 \
    RAY_USAGE_STATS_ENABLED=0
USER 10001
WORKDIR /tmp
EXPOSE 6379 8000 8265
# The Ray node's own agent.
HEALTHCHECK --interval=5s --timeout=3s --start-period=60s --retries=6 \
    CMD ["python3", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:52365/api/healthz', timeout=2)"]
CMD ["ray", "start", "--head", "--block", "--dashboard-host=0.0.0.0", "--num-cpus=0"]
