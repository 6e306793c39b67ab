# The service in a container: docs/serve.md tells how to build and run it.
# tests/serve/test_deploying.py tries what it runs, outside Docker.

FROM python:3.12-slim AS build
WORKDIR /src
COPY . .
RUN python -m venv /opt/dsunet
RUN /opt/dsunet/bin/pip install --no-cache-dir '.[serve]'
RUN /opt/dsunet/bin/python -m compileall -q /opt/dsunet/lib

FROM python:3.12-slim
COPY --from=build /opt/dsunet /opt/dsunet
ENV PATH=/opt/dsunet/bin:$PATH PYTHONDONTWRITEBYTECODE=1
# nobody; nothing is written anywhere, so the root file system may be read-only
USER 65534:65534
WORKDIR /
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=3 \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/health', timeout=4)"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["dsunet", "serve", "--host", "0.0.0.0", "--port", "8000"]
