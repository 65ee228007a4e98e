# One-word tasks. Each sets up .venv first when it is missing.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test lint bench clean

demo: $(VENV)/ready
	$(BIN)/python -m tools.demo --out demo_output

test: $(VENV)/ready
	$(BIN)/python -m pytest

lint: $(VENV)/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

bench: $(VENV)/ready
	$(BIN)/python -m tools.benchmark

# The environment is ready when everything is installed; tools/setup_venv.sh says how torch is chosen.
$(VENV)/ready: setup.py tools/setup_venv.sh
	PYTHON=$(PYTHON) sh tools/setup_venv.sh $(VENV)
	touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info demo_output
