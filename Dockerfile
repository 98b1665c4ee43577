# The labs on NVIDIA's PyTorch image: DGX Spark (aarch64) and x86-64 GPUs. docs/container.md says how to build and run it.
ARG BASE=nvcr.io/nvidia/pytorch:25.11-py3
FROM ${BASE}

# The numbers of the user that runs the labs: the host user's, so that mounted folders stay writable on both sides. No
# name is made for them, since Ubuntu's images have a user 1000 already. HOME can be written to by every user, for
# `docker run --user`. NVIDIA's settings for its own JupyterLab would hold for ours too: they go.
ARG LAB_UID=1000
ARG LAB_GID=1000
ENV HOME=/home/labs USER=labs
RUN rm -f /usr/local/etc/jupyter/jupyter_*_config.py /usr/local/etc/jupyter/jupyter_*_config.json \
    && mkdir -p /labs "${HOME}/.cache/huggingface" && chown "${LAB_UID}:${LAB_GID}" /labs && chmod -R a+rwX "${HOME}"
USER ${LAB_UID}:${LAB_GID}
WORKDIR /labs

# Packages first: they are installed again only when what decides about them has changed. `system` keeps the image's
# torch, numpy and CUDA, and stops if an installation would change them.
ENV PIP_NO_CACHE_DIR=1
COPY --chown=${LAB_UID}:${LAB_GID} requirements.txt requirements.lock pyproject.toml ./
COPY --chown=${LAB_UID}:${LAB_GID} scripts/__init__.py scripts/setup_environment.py scripts/existing_environment.py \
    scripts/offline_wheels.py scripts/system_torch.py scripts/
RUN python3 -m scripts.setup_environment system

# The embedded model is fetched and converted here, so that the image runs without a network.
COPY --chown=${LAB_UID}:${LAB_GID} . .
RUN .venv/bin/python -m scripts.prepare_embedded_model && .venv/bin/python -m scripts.start_jupyterlab --version

# NVIDIA's images let float32 products be rounded to TF32, which the labs' checks would see.
ENV TORCH_ALLOW_TF32_CUBLAS_OVERRIDE=0
EXPOSE 8888
# without urllib, which would ask a proxy
HEALTHCHECK --start-period=60s CMD ["python3", "-c", "import http.client; server = http.client.HTTPConnection('127.0.0.1', 8888, timeout=5); server.request('GET', '/api'); exit(server.getresponse().status != 200)"]
# Inside, the server listens on every address: who may reach it is decided where the port is published.
CMD [".venv/bin/python", "-m", "scripts.start_jupyterlab", "--ip=0.0.0.0", "--port=8888", "--ServerApp.port_retries=0"]
