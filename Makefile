# Every target sets up what it needs. `make setup` is the only one that installs anything.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin

.PHONY: help setup system-packages test demo bench lint lock clean

help:
	@echo "make demo    the whole story on this machine, in about two minutes"
	@echo "make test    the whole test suite"
	@echo "make bench   the benchmarks, with ratios to stated baselines"
	@echo "make lint    ruff, mypy --strict, import-linter"
	@echo "make setup   .venv with assent, assent-agent and assent-server"

$(VENV)/.done: requirements.lock shared/pyproject.toml agent/pyproject.toml server/pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Assent needs Python 3.11 or newer; set PYTHON=")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e ./shared -e ./agent -e ./server
	@touch $@

system-packages:
	@sh tests/system-packages.sh

setup: $(VENV)/.done system-packages

# In three processes, since they often wait; then what starts whole desktops and installations one after the other.
test: setup
	$(BIN)/python -m pytest -n 3 --dist loadfile -m "not e2e and not x11" $(TESTFLAGS)
	$(BIN)/python -m pytest -m "e2e or x11" $(TESTFLAGS)

demo: setup
	$(BIN)/python -m tests.demo $(DEMOFLAGS)

bench: setup
	$(BIN)/python -m tests.bench $(BENCHFLAGS)

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

lock:
	uv lock
	uv export --quiet --frozen --all-packages --all-groups --no-emit-workspace --format requirements-txt -o requirements.lock
	sed -i 's/^# *uv export.*/#    make lock/' requirements.lock

clean:
	rm -rf $(VENV) demo-run bench-run
