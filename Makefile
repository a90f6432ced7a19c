SHELL := /bin/bash
INSTALL := .venv/bin/python tools/install.py

.DEFAULT_GOAL := help
.PHONY: help demo test test-servers soak lint format generate validate ddev-test lock dropin wheel clean

help: ## List the targets
	@sed -nE 's/^([a-z-]+):.*## (.*)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 12

demo: .venv/.cli ## Run the check against simulated serving endpoints and show the result
	@.venv/bin/model-serving demo

test: lint ## Lint, check types, and test with the newest base package
	.venv/bin/python -m pytest -q

# Each server gets an environment of its own in .cache, up to 750 MB; what could not be had is said at the end.
test-servers: .venv/.test ## Test against every real server that a package registry has (SERVERS="bentoml kserve": some)
	@SERVERS="$${SERVERS:-all}" .venv/bin/python -m pytest -q -n0 -rs $(if $(SERVERS),tests/real/systems,tests/real)

soak: .venv/.test ## Test what an Agent does for months: 10,000 scrapes, 1,000 checks that come and go (SOAK=1 is short)
	SOAK=$${SOAK:-60} .venv/bin/python -m pytest -q -n0 tests/endurance

lint: .venv/.test ## Check style, format and types
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy

format: .venv/.test ## Mend format and what the linter can mend
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

generate: .venv/.test ## Write every generated file again
	.venv/bin/python tools/ddev.py generate
	.venv/bin/python tools/metadata.py
	.venv/bin/python tools/metric_tables.py
	.venv/bin/python tools/coverage_table.py
	.venv/bin/python tools/assets.py
	.venv/bin/python tools/scenarios.py
	.venv/bin/python tools/picture.py
	.venv/bin/python tools/previews.py

validate: .venv/.cli ## Run ddev's validations
	@.venv/bin/python tools/ddev.py validate

ddev-test: .venv/.cli ## Run `ddev -x test --compat .`: test with the base package of Agent 7.72, on its Python 3.13
	@.venv/bin/python tools/ddev.py test

lock: ## Bring requirements/*.txt in line with what is asked for (CONTRIBUTING.md)
	@python=$$(tools/find_python.sh) && "$$python" tools/lock.py $(LOCK)

dropin: ## Lay checks.d/ and conf.d/ into DEST for an Agent
	@python=$$(tools/find_python.sh) && "$$python" tools/dropin.py "$(DEST)"

wheel: .venv/.cli ## Build dist/*.whl
	@rm -rf dist
	@echo "building the wheel" >&2
	@.venv/bin/python -m pip --disable-pip-version-check --quiet --quiet wheel --no-deps --no-build-isolation --wheel-dir dist .
	@ls dist/*.whl

clean: ## Remove everything that the targets made
	rm -rf .venv .cache .hypothesis build dist .mypy_cache .pytest_cache .ruff_cache
	find datadog_checks tests tools -name __pycache__ -type d -prune -exec rm -rf {} +

# Everything by version and hash, and nothing else: what builds the package is among it.
.venv/.cli: pyproject.toml requirements/cli.txt
	@echo "making a virtual environment in .venv" >&2
	@python=$$(tools/find_python.sh) && "$$python" -m venv --clear .venv
	@$(INSTALL) --require-hashes -r requirements/cli.txt
	@$(INSTALL) --no-deps --no-build-isolation -e .
	@touch $@

.venv/.test: .venv/.cli requirements/test.txt
	@$(INSTALL) --require-hashes -r requirements/test.txt
	@touch $@
