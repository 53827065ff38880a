# The first stage installs the pinned packages. The second one has the packages and the code, but no build tools.
FROM python:3.12-slim AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /venv
COPY requirements.txt .
RUN /venv/bin/pip install --require-hashes -r requirements.txt

FROM python:3.12-slim
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    BIND=0.0.0.0:8000 VAR_DIR=/var/lib/gatehouse STATIC_ROOT=/app/staticfiles
RUN useradd --system --uid 10001 --home-dir /var/lib/gatehouse --create-home gatehouse \
    && chmod 0700 /var/lib/gatehouse
WORKDIR /app
COPY --from=build /venv /venv
COPY manage.py ./
COPY config config
COPY accounts accounts
COPY tiers tiers
COPY ratelimits ratelimits
COPY apikeys apikeys
COPY templates templates
COPY docs docs
COPY static static
# Collecting static files needs no real secrets: these are only set for this command.
RUN SECRET_KEY=build API_KEY_PEPPERS=build VAR_DIR=/tmp/build python manage.py collectstatic --noinput -v0
USER gatehouse
VOLUME /var/lib/gatehouse
EXPOSE 8000
HEALTHCHECK --interval=15s --timeout=3s --start-period=20s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/livez', timeout=2)"]
CMD ["gunicorn", "-c", "python:config.gunicorn", "config.asgi"]
