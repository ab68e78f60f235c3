# One sub-model: the server's image and this sub-model's weights, nothing of the others. Built by `raysplit image`.
ARG SERVER=raysplit-server:2.60.0
FROM ${SERVER}
COPY submodels /bundle/submodels
