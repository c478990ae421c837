# Twinhull. `make help` lists the targets. They need a Debian 12 or 13 machine (what ran on 13: README.md) and root.

SHELL := /bin/bash
VENV := .venv
PYTHON := $(VENV)/bin/python
# tests/conftest.py distributes the tests.
PYTEST := $(PYTHON) -m pytest -q --numprocesses 2 --no-loadscope-reorder
# Debian's Python sees Debian's libvirt and libnbd modules, which PyPI does not carry.
SYSTEM_PYTHON := /usr/bin/python3
LOCK := $(VENV)/bin/uv pip compile --quiet --generate-hashes --python-version 3.11 --no-header

.PHONY: help demo test check style tests-of bench bench-repository bench-chunks bench-scale setup packages images lock clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand --tabs 20

demo: setup ## the main story on a real QEMU and a real Xen, with a table of figures at the end
	$(PYTHON) -m lab.demo

test: setup style images ## set everything up and run every test
	$(PYTEST) --durations 15 tests

check: style ## style, types, import layers, and the tests that need no hypervisor (a few minutes)
	$(PYTEST) -m "not real" tests

style: $(VENV)/ready ## format, lint, types and import layers
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

tests-of: ## the tests that use a file: make tests-of FILE=src/twinhull/blocks/nbd.py
	@grep -rlE "twinhull\.(\w+\.)*$(basename $(notdir $(FILE)))\b|import .*\b$(basename $(notdir $(FILE)))\b" --include='test_*.py' tests

bench: setup ## what an increment costs on real hypervisors, one line per figure
	$(PYTHON) -m bench.increment

bench-repository: setup ## the repository against zstd, borg and restic on one input
	$(PYTHON) -m bench.repository

bench-chunks: setup ## what each chunk size costs, with a database guest
	$(PYTHON) -m bench.chunk_sizes

bench-scale: $(VENV)/ready ## what does not grow with the disk or the repository
	$(PYTHON) -m bench.scale

setup: packages $(VENV)/ready ## install Debian's packages and the virtual environment

# Debian's packages; apt runs only if one is missing.
packages:
	@lab/install_packages.sh

$(VENV)/ready: requirements-dev.lock pyproject.toml
	test -x $(PYTHON) || $(SYSTEM_PYTHON) -m venv --system-site-packages $(VENV)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	$(VENV)/bin/pip install --quiet --disable-pip-version-check --no-deps --editable .
	touch $@

images: setup ## build the lab's guests and Xen host, kept in ~/.cache/twinhull-lab
	$(PYTHON) -m lab.images
	$(PYTHON) -m lab.xen_host

# Both locks have the same versions: a test compares them.
lock: ## pin all dependencies anew, for the product and for development
	$(VENV)/bin/pip install --quiet uv
	$(LOCK) --extra dev --output-file requirements-dev.lock pyproject.toml
	$(LOCK) --constraint requirements-dev.lock --output-file requirements.lock pyproject.toml

clean: ## remove the virtual environment and all caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis
