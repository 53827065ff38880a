# To get started, use `make run` and `make test`. Both work in a fresh clone with Python 3.11+ and make.
PYTHON ?= python3
PORT ?= 8000
VENV := .venv
BIN := $(VENV)/bin
export BIND ?= 127.0.0.1:$(PORT)

.PHONY: run setup demo backup restore test faults nodes bench lint screenshots format lock clean

run: export RUN_JOBS ?= true
run: setup
	@echo
	@echo "  Gatehouse is running at  http://$(BIND)/        Sign in as staff:  http://$(BIND)/admin/"
	@echo "  Sample data: make demo        Stop: Ctrl-C"
	@echo
	@$(BIN)/gunicorn -c python:config.gunicorn config.asgi

# Everything but the server: packages, .env, database, default tier, first superuser, static files.
setup: $(VENV)/.run
	@$(BIN)/python -m config.write_env .env
	@$(BIN)/python manage.py migrate --noinput -v0
	@$(BIN)/python manage.py bootstrap
	@$(BIN)/python manage.py collectstatic --noinput -v0

demo: setup
	@$(BIN)/python manage.py demo
	@$(BIN)/python manage.py fold_usage

# make backup [TO=directory]: from a running Gatehouse. make restore FROM=directory [ARGS=--replace]: into a stopped one.
backup: $(VENV)/.run
	@$(BIN)/python manage.py backup $(TO)

restore: $(VENV)/.run
	@$(BIN)/python manage.py restore $(FROM) $(ARGS)

# TEST_POSTGRES_URL: a PostgreSQL server, with a role that can create databases. Without one, tests on PostgreSQL are skipped with
# a warning, or fail with REQUIRE_SERVICES=1.
test: $(VENV)/.test
	@$(BIN)/python -m tests.run $(ARGS)

# Break processes, databases, disks and clocks under load; writes the figures in docs/reliability.md. Needs PostgreSQL, Redis and
# nginx, and root for two small disks. ARGS: only faults with one of these words in their name.
faults: $(VENV)/.test
	@$(BIN)/python -m benchmarks.faults $(ARGS)

# Several nodes on one PostgreSQL and Redis behind nginx, and a rolling upgrade; writes the figures in docs/scaling.md. As root, each
# node gets its own network namespace.
nodes: $(VENV)/.test
	@$(BIN)/python -W ignore -m benchmarks.nodes $(ARGS)

# What a decision costs, alone and alongside idle connections and staff, and a scrape of /metrics; writes the tables in
# docs/decision.md and docs/metrics.md. Uses SQLite, or make bench ARGS="--database postgresql://… [--redis redis://…]", a
# database that it can fill.
bench: $(VENV)/.test
	@$(BIN)/python -W ignore -m benchmarks.verification $(ARGS)
	@$(BIN)/python -W ignore -m benchmarks.conditions $(ARGS)
	@$(BIN)/python -W ignore -m benchmarks.metrics_scrape $(ARGS)

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/djlint --lint --quiet templates
	DEBUG=true $(BIN)/mypy .

# The pictures in docs/screenshots, in Chromium.
screenshots: $(VENV)/.test
	@$(BIN)/python -m benchmarks.screenshots

format: $(VENV)/.test
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Pin every package with hashes. Run this after a change to requirements*.in.
lock: $(VENV)/.test
	$(BIN)/uv pip compile -q --upgrade --no-strip-extras --universal --python-version 3.11 --generate-hashes --no-emit-find-links requirements.in -o requirements.txt
	$(BIN)/uv pip compile -q --upgrade --no-strip-extras --universal --python-version 3.11 --generate-hashes --no-emit-find-links requirements-dev.in -o requirements-dev.txt

$(VENV)/.run: requirements.txt
	@test -d $(VENV) || $(PYTHON) -m venv $(VENV)
	@echo "Installing packages …"
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.txt
	@touch $@

$(VENV)/.test: $(VENV)/.run requirements-dev.txt
	@echo "Installing test tools …"
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.txt
	@touch $@

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis htmlcov .coverage*
