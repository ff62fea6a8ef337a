# Tandem in a container. Works under any user id, with a read-only root and without network:
#   docker run --rm --gpus all -u $(id -u):$(id -g) -v BIDS:/bids:ro -v OUT:/out tandem /bids /out participant -w /out/work
# TORCH=cpu makes a small image without CUDA. BASE may carry a digest (python:3.11-slim-bookworm@sha256:...); PIP_ARGS may
# name another source of packages.
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS build
ARG TORCH=cuda
ARG PIP_ARGS=""
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_COMPILE=1
RUN python -m venv /opt/tandem
WORKDIR /src
# Dependencies first: they change less often than the code.
COPY constraints.txt ./
RUN case "${TORCH}" in \
      cuda) index="" ;; \
      cpu) index="--extra-index-url https://download.pytorch.org/whl/cpu" ;; \
      *) echo "TORCH must be cuda or cpu, not ${TORCH}" >&2; exit 64 ;; \
    esac \
    && /opt/tandem/bin/pip install ${PIP_ARGS} ${index} -c constraints.txt torch
RUN /opt/tandem/bin/pip install ${PIP_ARGS} -c constraints.txt \
       antspyx monai nibabel nilearn nipype pybids scikit-learn statsmodels templateflow
COPY pyproject.toml README.md LICENSE ./
COPY bids_app ./bids_app
COPY workflows ./workflows
RUN /opt/tandem/bin/pip wheel ${PIP_ARGS} --no-deps -w /wheel . \
    && /opt/tandem/bin/pip install ${PIP_ARGS} -c constraints.txt /wheel/*.whl
# What no run needs: packages' own tests, headers, static libraries, and pip. What is left is compiled once, because a
# read-only root could not keep it.
RUN cd /opt/tandem/lib/python3.11/site-packages \
    && rm -rf torch/include torch/share torch/test pip pip-*.dist-info \
    && find . -type d \( -name tests -o -name test \) -not -path "./torch/*" -prune -exec rm -rf {} + \
    && find . -name "*.a" -delete \
    && /opt/tandem/bin/python -m compileall -q -j 0 . > /dev/null || true

FROM ${BASE}
ARG VERSION=0.1.0
LABEL org.opencontainers.image.title="Tandem" \
      org.opencontainers.image.description="BIDS App: segments brain MRI and measures what it found. Research use only." \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /opt/tandem /opt/tandem
# A template store that is not empty keeps TemplateFlow from filling one in somebody's home; bind your own over it.
# Caches of other packages go where everybody can write.
RUN mkdir -p /opt/templateflow && touch /opt/templateflow/.here
ENV PATH=/opt/tandem/bin:$PATH \
    PYTHONNOUSERSITE=1 \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    NO_ET=1 \
    MPLCONFIGDIR=/tmp/matplotlib \
    XDG_CACHE_HOME=/tmp/cache \
    TEMPLATEFLOW_HOME=/opt/templateflow \
    TEMPLATEFLOW_AUTOUPDATE=off \
    TANDEM_CONTAINER_TYPE=docker \
    TANDEM_CONTAINER_TAG=tandem:${VERSION}
# Every bundle against the checksum in its manifest, every library that is needed: a broken image is not built.
RUN tandem doctor --offline
WORKDIR /tmp
ENTRYPOINT ["tandem"]
