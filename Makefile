# One-word tasks. Each makes .venv first when it is missing.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test lint types fuzz bench docs clean

demo: $(VENV)/ready       ## refine people on photographs; writes demo_output/before_after.png
	$(BIN)/python -m posefix.demo --out demo_output

test: $(VENV)/ready       ## all tests except fuzzing
	$(BIN)/python -m pytest

lint: types               ## ruff, ruff format and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/ready      ## mypy on the public API
	$(BIN)/mypy

fuzz: $(VENV)/ready       ## randomly damaged files of every format
	$(BIN)/python -m pytest -m fuzz

bench: $(VENV)/ready      ## speed of refining and training, compared with the original implementation
	$(BIN)/python -m tools.benchmark

docs: $(VENV)/ready       ## build the site from docs/; a broken link is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	$(BIN)/posefix export posefix-base --to onnx --out site/browser/posefix.onnx

$(VENV)/ready: setup.py tools/setup_venv.sh
	PYTHON=$(PYTHON) sh tools/setup_venv.sh $(VENV)
	touch $@

clean:
	rm -rf $(VENV) build dist site *.egg-info demo_output
