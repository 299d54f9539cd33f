# One image for all roles: a party, the model owner, the data owner, and `freediv render`.
#
# `freediv images build` builds it: it fetches the wheels of requirements.lock into build/wheels first, on the host, and
# gives a base that holds the system's packages where the public one cannot be had. Nothing here then needs a network.
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS base
# The public base lacks OpenMP's runtime, which SPU is linked with.
RUN python3 -c 'import ctypes, ensurepip; ctypes.CDLL("libgomp.so.1")' \
 || { apt-get update && apt-get install --yes --no-install-recommends libgomp1 && rm -rf /var/lib/apt/lists/*; }

FROM base AS build
ENV PIP_NO_INDEX=1 PIP_FIND_LINKS=/wheels PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /source
COPY build/wheels /wheels
COPY requirements.lock ./
RUN python3 -m venv /opt/freediv \
 && /opt/freediv/bin/pip install --no-compile --require-hashes --requirement requirements.lock

# Freediv itself is apart from what it needs, so that a change of it makes a small layer anew, and quickly.
FROM build AS own
COPY pyproject.toml README.md LICENSE ./
COPY orchestrator orchestrator
RUN /opt/freediv/bin/pip install --no-deps --no-build-isolation --target /own .

# What only conversion or building needs stays out. The imports compile what the roles load, whose file system is read-only.
FROM build AS needed
RUN /opt/freediv/bin/pip uninstall --quiet --yes transformers optax chex hf-xet huggingface-hub scipy setuptools pip \
    cyclonedx-python-lib py-serializable license-expression boolean-py packageurl-python defusedxml sortedcontainers \
 && cd / && /opt/freediv/bin/python -c 'import click, cryptography.x509, fastapi, grpc.aio, jax.numpy, jinja2, matplotlib.pyplot, \
    numba, prometheus_client, psutil, pydantic, rich.progress, safetensors.numpy, spu.utils.frontend, tokenizers, \
    uvicorn.protocols.http.h11_impl, yaml'

FROM base
COPY --from=needed /opt/freediv /opt/freediv
COPY --from=own /own /opt/freediv/own
# A volume that is mounted on one of these takes over its owner.
RUN cd / && for role in . authority party-0 party-1 party-2 model-owner data-owner predictions; do \
      install -d -o 10001 -g 10001 -m 700 "deployment/$role"; done
# Whatever libraries want to keep goes into the container's own temporary directory.
ENV PATH=/opt/freediv/own/bin:/opt/freediv/bin:$PATH PYTHONPATH=/opt/freediv/own HOME=/tmp LANG=C.UTF-8 \
    PYTHONUNBUFFERED=1
WORKDIR /deployment
USER 10001:10001
ENTRYPOINT ["freediv"]
