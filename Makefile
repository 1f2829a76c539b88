# One line a target; `make` alone lists them.
PYTHON ?= python3
VENV := .venv
RUNNER := $(VENV)/bin/python -m runner

.DEFAULT_GOAL := help
.PHONY: help matrix cell images report publish test lint lock reference conformance doctor clean

help: ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

matrix: $(VENV)/ready ## run what is missing of every suite, then write the reports (ARGS="vgg16 --filter 'tf-*'")
	$(RUNNER) matrix $(ARGS)

cell: $(VENV)/ready ## run one cell (CELL=tf-1.8-nhwc)
	$(RUNNER) cell $(CELL) $(ARGS)

images: $(VENV)/ready ## build the container image of a cell (CELL=tf-1.8-nhwc)
	$(RUNNER) image $(CELL) $(ARGS)

report: $(VENV)/ready ## write reports/ and the tables of the README from the records
	$(RUNNER) report
	$(RUNNER) publish README.md

test: $(VENV)/ready-to-test ## run all tests (ARGS="tests/unit" for the quick ones)
	$(VENV)/bin/python -m pytest -n 2 --dist loadgroup $(ARGS)

lint: $(VENV)/ready-to-test ## ruff, mypy, the floors of the house, and the guest's dialect
	$(VENV)/bin/ruff check runner tests
	$(VENV)/bin/ruff format --check runner tests
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports
	$(VENV)/bin/vermin -q --no-tips -t=2.7 -t=3.5- --violations images/guest

lock: $(VENV)/ready ## make the locks of a release anew (RELEASE=tf-1.8)
	$(RUNNER) lock $(RELEASE)

reference: $(VENV)/ready ## compute the float64 reference of a workload anew (WORKLOAD=vgg16)
	$(RUNNER) reference $(WORKLOAD)

conformance: $(VENV)/ready-to-test ## hold one release's adapter against the reference, layer by layer (RELEASE=tf-1.8)
	CONFORMANCE="$(RELEASE)" $(VENV)/bin/python -m pytest -n 2 tests/guest/test_conformance.py

doctor: $(VENV)/ready ## what of this machine is fit for the matrix, and what to do
	$(RUNNER) doctor

clean: ## remove the runner's own environment; caches: python -m runner clean
	rm -rf $(VENV)

$(VENV)/ready: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --no-compile --editable .
	touch $@

$(VENV)/ready-to-test: $(VENV)/ready
	$(VENV)/bin/python -m pip install --quiet --no-compile --editable '.[dev]'
	touch $@
