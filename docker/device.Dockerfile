# The client of a device, without Ray. Built by `raysplit image`; a family is mounted at /family:
#   podman run --rm -v ./family:/family:ro raysplit-device:TAG raysplit device /family photo.png --url http://HOST:8000
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS build
ARG TORCH=2.13.0
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python3 -m venv /opt/raysplit \
    && /opt/raysplit/bin/pip install --no-deps --index-url "${TORCH_INDEX}" "torch==${TORCH}"
COPY device.lock /tmp/
RUN /opt/raysplit/bin/pip install --no-deps --require-hashes -r /tmp/device.lock \
    && rm -r /opt/raysplit/lib/python3*/site-packages/torch/include \
    && echo /opt/package > /opt/raysplit/lib/python3.11/site-packages/package.pth

FROM build AS package
COPY raysplit-*.whl /tmp/
RUN /opt/raysplit/bin/pip install --no-deps --no-index --target /opt/package /tmp/raysplit-*.whl

FROM ${BASE}
RUN useradd --uid 10001 --create-home raysplit
COPY --from=build /opt/raysplit /opt/raysplit
RUN ln -s /opt/package/bin/raysplit /usr/local/bin/
COPY --from=package /opt/package /opt/package
COPY family /family
ENV PATH=/opt/raysplit/bin:/usr/local/bin:/usr/bin:/bin \
    HOME=/tmp \
    PYTHONDONTWRITEBYTECODE=1
# The device half at its loosest level, for programs of their own: torch.export.load("/device.pt2").
RUN raysplit export /family --half device -o /device.pt2
USER 10001
WORKDIR /tmp
# A client has no port; it is healthy as long as it can be imported.
HEALTHCHECK --interval=60s --timeout=20s CMD ["python3", "-c", "import raysplit.device.http"]
CMD ["raysplit", "device", "--help"]
