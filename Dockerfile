# A CPU image that serves a run of Jenga, or trains one.
#   docker build -t jenga --build-arg TORCH_INDEX=<torch's index of CPU builds> .
#   docker run --rm -p 8000:8000 -e JENGA_TOKEN -v "$PWD/runs:/runs:ro" jenga serve /runs/calls --host 0.0.0.0
#   docker run --rm -v "$PWD:/work" -w /work --user "$(id -u)" jenga train configs/quickstart.yml
ARG PYTHON=3.11.14-slim-bookworm

FROM python:${PYTHON} AS build
RUN apt-get update && apt-get install -y --no-install-recommends g++ && rm -rf /var/lib/apt/lists/*
WORKDIR /source
# torch's own index of CPU builds: without it torch brings gigabytes of CUDA's libraries, which a CPU has no use for.
ARG TORCH_INDEX=
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_EXTRA_INDEX_URL=${TORCH_INDEX}
COPY pyproject.toml constraints.txt ./
# What changes least comes first: this layer is kept until constraints.txt names another torch.
RUN python -m venv /opt/jenga && /opt/jenga/bin/pip install -c constraints.txt torch
COPY CMakeLists.txt README.md LICENSE NOTICE ./
COPY csrc csrc
COPY kernels kernels
COPY jenga jenga
RUN pip wheel --no-deps -c constraints.txt -w /wheel . \
    && /opt/jenga/bin/pip install -c constraints.txt "$(echo /wheel/jenga-*.whl)[serve]"

FROM python:${PYTHON}
RUN useradd --create-home --uid 10001 jenga
COPY --from=build /opt/jenga /opt/jenga
ENV PATH=/opt/jenga/bin:$PATH PYTHONUNBUFFERED=1 JENGA_PORT=8000
USER jenga
WORKDIR /home/jenga
EXPOSE 8000
# Of `jenga serve` at its usual port; a container that trains answers nobody: docker run --no-healthcheck.
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as r; r.urlopen(f'http://127.0.0.1:{os.environ[\"JENGA_PORT\"]}/ready', timeout=4)"]
ENTRYPOINT ["jenga"]
CMD ["--help"]
