# Trunkline as an image: non-root, no shell needed, runs on a read-only root file system. See docs/deploy.md.
#
#   docker build -t trunkline .                                     CPU
#   docker build -t trunkline:cuda --build-arg DEVICE=cuda .        NVIDIA GPU; the host brings the driver only

ARG PYTHON_VERSION=3.11

# --- build: everything that is installed, in one folder ----------------------------------------------------------
FROM python:${PYTHON_VERSION}-slim-bookworm AS build

# cpu | cuda: what the image serves on. Serving on a CPU needs no torch; for a GPU, a CUDA build of it has to come out.
ARG DEVICE=cpu
# An index of packages to look at besides the usual one, such as the one that holds torch's builds for a CUDA release.
ARG TORCH_INDEX_URL=

ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src

# The slow layer: it changes with the lock alone. pip itself stays out of the image that is shipped.
COPY requirements.lock requirements-torch.lock deploy/check_torch.py ./
RUN --mount=type=secret,id=pip,target=/etc/pip.conf \
    python -m venv --without-pip /opt/venv \
    && case "${DEVICE}" in cpu) lock=requirements.lock ;; *) lock=requirements-torch.lock ;; esac \
    && PIP_EXTRA_INDEX_URL="${TORCH_INDEX_URL:-${PIP_EXTRA_INDEX_URL:-}}" \
       python -m pip --python /opt/venv/bin/python install -r "${lock}" \
    && /opt/venv/bin/python check_torch.py "${DEVICE}"

COPY pyproject.toml README.md LICENSE ./
COPY app app
COPY model model
RUN --mount=type=secret,id=pip,target=/etc/pip.conf \
    python -m pip --python /opt/venv/bin/python install --no-deps .

WORKDIR /srv/trunkline
COPY deploy/healthcheck.py ./
COPY weights weights
# A clone made under a strict umask is readable by its owner alone.
RUN chmod -R a+rX .

# --- run ---------------------------------------------------------------------------------------------------------
FROM python:${PYTHON_VERSION}-slim-bookworm

LABEL org.opencontainers.image.title="Trunkline" \
      org.opencontainers.image.description="Inference service for multi-modal, multi-task models" \
      org.opencontainers.image.licenses="Apache-2.0"

RUN groupadd --gid 10001 trunkline \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin trunkline \
    && install -d -o 10001 -g 10001 -m 0700 /var/lib/trunkline

COPY --from=build /opt/venv /opt/venv
COPY --from=build /srv/trunkline /srv/trunkline
WORKDIR /srv/trunkline

# Whoever reaches the port that a container publishes may ask, so keys are asked for. There is none at first:
#   docker exec CONTAINER trunkline keys add NAME
VOLUME /var/lib/trunkline

ENV PATH=/opt/venv/bin:$PATH \
    HF_HUB_OFFLINE=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    TRUNKLINE_BUNDLES=/srv/trunkline/weights/fashion \
    TRUNKLINE_HOST=0.0.0.0 \
    TRUNKLINE_KEYS=/var/lib/trunkline/keys.json \
    TRUNKLINE_LOG_FORMAT=json \
    TRUNKLINE_PORT=8000

USER 10001:10001
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s --retries=3 \
    CMD ["python", "/srv/trunkline/healthcheck.py"]
ENTRYPOINT ["trunkline"]
CMD ["serve"]
