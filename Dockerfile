# The labs on NVIDIA's PyTorch image: DGX Spark (aarch64) and x86-64 GPUs. docs/container.md says how to build and run it.
ARG BASE=nvcr.io/nvidia/pytorch:25.11-py3
FROM ${BASE}

# The user that runs the labs, with the host user's numbers, so that mounted folders stay writable on both sides.
ARG LAB_UID=1000
ARG LAB_GID=1000
ENV HOME=/home/labs
RUN mkdir -p /labs "${HOME}/.cache/huggingface" && chown -R "${LAB_UID}:${LAB_GID}" /labs "${HOME}"
USER ${LAB_UID}:${LAB_GID}
WORKDIR /labs

# Packages first: they are installed again only when what decides about them has changed. `system` keeps the image's
# torch, numpy and CUDA, and stops if an installation would change them.
ENV PIP_NO_CACHE_DIR=1
COPY --chown=${LAB_UID}:${LAB_GID} requirements.txt requirements.lock pyproject.toml ./
COPY --chown=${LAB_UID}:${LAB_GID} scripts/__init__.py scripts/setup_environment.py scripts/system_torch.py scripts/
RUN python3 -m scripts.setup_environment system

# The embedded model is fetched and converted here, so that the image runs without a network.
COPY --chown=${LAB_UID}:${LAB_GID} . .
RUN .venv/bin/python -m scripts.prepare_embedded_model && .venv/bin/python -m scripts.start_jupyterlab --version

EXPOSE 8888
HEALTHCHECK --start-period=60s CMD ["python3", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8888/api', timeout=5)"]
# Inside, the server listens on every address: who may reach it is decided where the port is published.
CMD [".venv/bin/python", "-m", "scripts.start_jupyterlab", "--ip=0.0.0.0", "--port=8888", "--ServerApp.port_retries=0"]
