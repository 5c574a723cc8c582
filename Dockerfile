# The ready worker in an image: `docker run IMAGE` is a worker, `docker run IMAGE lightrag-neo4j check` the command.
# It holds no secrets: configuration comes from the environment and from files; see docs/deployment.md.
# No cache mounts, so that Docker's older builder makes it as well.
ARG PYTHON=python:3.11-slim

FROM ${PYTHON} AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src
# The dependencies first: they change seldom, so this layer is built seldom. pip stays outside of their folder.
COPY requirements-image.lock ./
RUN python -m venv --without-pip /opt/venv \
 && pip --python /opt/venv/bin/python install --quiet --no-deps --require-hashes --requirement requirements-image.lock \
 && find /opt/venv -type d -name tests -prune -exec rm -r {} + # of the packages themselves: 77 MB
COPY deploy/image/build.lock deploy/image/
RUN python -m venv --without-pip /opt/build \
 && pip --python /opt/build/bin/python install --quiet --no-deps --require-hashes --requirement deploy/image/build.lock
COPY pyproject.toml README.md LICENSE ./
COPY app_container app_container
COPY wiring wiring
RUN PYTHONPATH=$(echo /opt/build/lib/python*/site-packages) \
    pip wheel --quiet --no-deps --no-build-isolation --wheel-dir /wheels . \
 && pip --python /opt/venv/bin/python install --quiet --no-deps --no-index /wheels/*.whl

FROM ${PYTHON} AS runtime
# The same number everywhere, so that volumes keep their owner.
RUN groupadd --gid 10001 lightrag \
 && useradd --uid 10001 --gid lightrag --no-log-init --no-create-home --home-dir /data --shell /usr/sbin/nologin lightrag \
 && install --directory --owner lightrag --group lightrag --mode 0700 /data
COPY config.yaml /etc/lightrag-neo4j/config.yaml
# What pip compiled is all there is; at run time nothing is written beside the code.
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HOME=/data \
    APP_CONTAINER_CONFIG=/etc/lightrag-neo4j/config.yaml
WORKDIR /data
VOLUME /data
USER 10001:10001
STOPSIGNAL SIGTERM

FROM build AS flower-build
COPY deploy/image/flower.lock deploy/image/
RUN pip --python /opt/venv/bin/python install --quiet --no-deps --require-hashes --requirement deploy/image/flower.lock

FROM runtime AS flower
COPY --from=flower-build /opt/venv /opt/venv
EXPOSE 5555
CMD ["celery", "-A", "wiring.celery_app", "flower"]

FROM runtime AS worker
COPY --from=build /opt/venv /opt/venv
# A process of the worker that hangs is a reason to replace the container. That Neo4j is away is none: the worker waits
# for it, and a probe that asked would only add its own connections.
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s --retries=3 CMD ["lightrag-neo4j", "check", "--probe", "liveness"]
# Without a number Celery starts a process for each core of the machine, whatever the container may use of them.
CMD ["celery", "-A", "wiring.celery_app", "worker", "--concurrency", "2", "--loglevel", "INFO"]
ARG VERSION=unknown
LABEL org.opencontainers.image.title="lightrag-neo4j" \
      org.opencontainers.image.description="Celery worker that puts documents into a LightRAG graph in Neo4j" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="${VERSION}"
