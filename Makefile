# Every target does its own set-up: it needs Python 3.11+ and make, nothing else.
.DEFAULT_GOAL := help
.PHONY: help setup demo test brokers unit check format bench services torture clean

ROUNDS ?= 100
BIN := .venv/bin
READY := .venv/.ready
PROMTOOL := $(BIN)/promtool
RUNS := import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))

help: ## Say what can be made
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' Makefile

setup: $(READY) ## Make .venv with the pinned versions (the others call it)

$(READY): pyproject.toml constraints.txt
	@for python in python3.11 python3.12 python3.13 python3; do \
		if $$python -c '$(RUNS)' >/dev/null 2>&1; then found=$$python; break; fi; \
	done; \
	if [ -z "$$found" ]; then \
		echo "setup: looked for python3.11, python3.12, python3.13 and python3, found none that is 3.11 or newer"; \
		echo "       and can make virtual environments; install Python 3.11+ (on Debian: python3 and python3-venv)"; \
		exit 1; \
	fi; \
	echo "setup: making .venv with $$found"; \
	$$found -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[all,dev]'
	@touch $@

demo: setup ## Run the shop: ORDERS=FILE takes real orders, CHAOS=1 kills services meanwhile, BROKER=kafka, nats, redis, valkey, rabbitmq, rabbitmq-streams, postgres or a URL carries events there, STORE=postgres or sqlite gives each its own store, JSON=1 prints one object
	@$(BIN)/python -m examples.shop $(if $(ORDERS),--orders "$(ORDERS)") $(if $(CHAOS),--chaos) $(if $(BROKER),--broker "$(BROKER)") $(if $(STORE),--store "$(STORE)") $(if $(JSON),--json)

$(PROMTOOL): | $(READY)
	@$(BIN)/python -m tests.promtool $@

test: setup $(PROMTOOL) ## Run every test but services and faults on brokers' servers (some 15 minutes on two cores)
	@$(BIN)/python -m pytest -n 2 --dist worksteal --durations=15

brokers: setup ## Run services and faults on the real server of each broker (some 40 minutes)
	@$(BIN)/python -m pytest -n 2 --dist worksteal -m at_length tests/conformance tests/integration

unit: setup ## Run the tests without I/O (less than a minute)
	@$(BIN)/python -m pytest tests/unit -n 2 --dist worksteal --durations=5

check: setup ## Check format, lint, types and architecture
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/pyright
	@$(BIN)/python -m pytest -q tests/test_architecture.py tests/test_public_names.py

format: setup ## Format, and mend what the linter can
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

bench: setup ## Run every measurement and print the table
	@$(BIN)/python -m benchmarks --all

services: setup ## Start the servers of all brokers until Ctrl-C, or those of NAMES="kafka nats"
	@$(BIN)/python -m antiphon.testing.servers.services $(NAMES)

torture: setup ## Kill processes for ROUNDS=n rounds of every scenario; ends with one JSON line
	@$(BIN)/python -m tests.torture --rounds $(ROUNDS)

clean: ## Remove what the other targets made
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis benchmarks/.peers
