# Twinhull. `make demo` plays the main story on two real hypervisors; `make test` sets up and runs every test.
# Both need a Debian 12 machine (13: see docs/platforms) and root, nothing else.

SHELL := /bin/bash
VENV := .venv
PYTHON := $(VENV)/bin/python
# tests/conftest.py deals the tests out.
PYTEST := $(PYTHON) -m pytest -q --numprocesses 2 --no-loadscope-reorder
# Debian's Python sees Debian's libvirt and libnbd modules, which PyPI does not carry.
SYSTEM_PYTHON := /usr/bin/python3
LOCK := $(VENV)/bin/uv pip compile --quiet --generate-hashes --python-version 3.11 --no-header

.PHONY: demo test check style bench bench-repository bench-chunks bench-scale setup packages images lock clean

demo: setup
	$(PYTHON) -m lab.demo

test: setup style images
	$(PYTEST) --durations 15 tests

# A minute or two: style, types, import layers, and the tests that need no hypervisor.
check: style
	$(PYTEST) -m "not real" tests

style: $(VENV)/ready
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

# What an increment costs, on real hypervisors: one line per figure.
bench: setup
	$(PYTHON) -m bench.increment

bench-repository: setup ## the repository against zstd, borg and restic on one input
	$(PYTHON) -m bench.repository

bench-chunks: setup ## what each chunk size costs, with a database guest
	$(PYTHON) -m bench.chunk_sizes

bench-scale: $(VENV)/ready ## what does not grow with the disk or the repository
	$(PYTHON) -m bench.scale

setup: packages $(VENV)/ready

# Debian's packages, asked for only where one is missing.
packages:
	@lab/install_packages.sh

$(VENV)/ready: requirements-dev.lock pyproject.toml
	test -x $(PYTHON) || $(SYSTEM_PYTHON) -m venv --system-site-packages $(VENV)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	$(VENV)/bin/pip install --quiet --disable-pip-version-check --no-deps --editable .
	touch $@

# Guest images and the Xen host's image, built once and kept in ~/.cache/twinhull-lab.
images: setup
	$(PYTHON) -m lab.images
	$(PYTHON) -m lab.xen_host

# What the product needs, and that with what its tests need: the same versions in both.
lock:
	$(VENV)/bin/pip install --quiet uv
	$(LOCK) --extra dev --output-file requirements-dev.lock pyproject.toml
	$(LOCK) --constraint requirements-dev.lock --output-file requirements.lock pyproject.toml

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis
