# Tandem in a container. Works under any user id, with a read-only root and without network:
#   docker run --rm --gpus all -u $(id -u):$(id -g) -v BIDS:/bids:ro -v OUT:/out tandem /bids /out participant -w /out/work
# BASE may carry a digest (python:3.11-slim-bookworm@sha256:...); PIP_ARGS may name another source of packages,
# for example one that holds torch without CUDA.
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS build
ARG PIP_ARGS=""
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/tandem
WORKDIR /src
COPY constraints.txt ./
# The large dependencies first: they change less often than the code.
RUN /opt/tandem/bin/pip install ${PIP_ARGS} -c constraints.txt torch monai antspyx nilearn nipype pybids
COPY pyproject.toml README.md LICENSE ./
COPY bids_app ./bids_app
COPY workflows ./workflows
RUN /opt/tandem/bin/pip install ${PIP_ARGS} -c constraints.txt . \
    && /opt/tandem/bin/python -m compileall -q /opt/tandem/lib || true
RUN /opt/tandem/bin/tandem --version

FROM ${BASE}
ARG VERSION=0.1.0
LABEL org.opencontainers.image.title="Tandem" \
      org.opencontainers.image.description="BIDS App: segments brain MRI and measures what it found. Research use only." \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /opt/tandem /opt/tandem
# A template store that is not empty keeps TemplateFlow from filling one in somebody's home; bind your own over it.
RUN mkdir -p /opt/templateflow && touch /opt/templateflow/.here
ENV PATH=/opt/tandem/bin:$PATH \
    PYTHONNOUSERSITE=1 \
    PYTHONUNBUFFERED=1 \
    NO_ET=1 \
    TEMPLATEFLOW_HOME=/opt/templateflow \
    TEMPLATEFLOW_AUTOUPDATE=off \
    TANDEM_CONTAINER_TYPE=docker \
    TANDEM_CONTAINER_TAG=tandem:${VERSION}
WORKDIR /tmp
ENTRYPOINT ["tandem"]
