# Everything a fresh machine needs is installed by these targets into .venv; nothing else on the machine is touched.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
JOBS ?= auto
export DO_NOT_TRACK := 1
export PREFECT_SERVER_ANALYTICS_ENABLED := false

.PHONY: demo test quick test-slow bench bench-parity bench-spend lint lock clean

demo: $(STAMP)
	$(BIN)/stillmotion demo --out demo-output

test: $(STAMP)
	$(MAKE) --jobs=2 lint quick  # tests wait for other processes now and then; the type check fills that time

quick: $(STAMP)
	$(BIN)/pytest -n $(JOBS) --dist worksteal

test-slow: $(STAMP) chromium
	$(BIN)/pytest -n $(JOBS) --dist worksteal -m slow

bench: $(STAMP)
	$(BIN)/python -m tests.benchmarks $(if $(TRUTH),--truth "$(TRUTH)")

# Every model against its authors' own code on the same weights; PARITY=DIR names another folder of reference data.
bench-parity: $(STAMP)
	PARITY="$(PARITY)" $(BIN)/python -m tests.benchmarks.bench_parity $(MODELS)

# What killed runs pay twice and lose; KILLS=4 ITEMS=12 gives a short table.
bench-spend: $(STAMP)
	$(BIN)/python -m tests.benchmarks.bench_spend --kills $(or $(KILLS),50) --items $(or $(ITEMS),100)

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip -c constraints.txt
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@

# A browser for the report's tests: the system's own package where there is none yet.
.PHONY: chromium
chromium:
	@command -v chromium >/dev/null || (apt-get update -qq && apt-get install -qq -y chromium)

# Write constraints.txt anew from what the open ranges give today.
lock:
	rm -rf .lock && $(PYTHON) -m venv .lock
	.lock/bin/python -m pip install --quiet --upgrade pip
	.lock/bin/python -m pip install --quiet ".[dev]"
	.lock/bin/python -m pip freeze --all --exclude stillmotion > constraints.txt
	rm -rf .lock

clean:
	rm -rf $(VENV) demo-output
