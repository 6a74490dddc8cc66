# What a newcomer types: `make demo` and `make test`. Both set up .venv first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

# a test starts many processes; each would compile the package anew
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test test-all test-long quick numeric numeric-avx2 numeric-least lint format mutants core-mutants emoji docs docs-write base card full-size soak studies clean

demo: $(READY)
	$(BIN)/snrlab demo

test: $(READY)
	$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder  # one more than cores: some tests wait

quick: $(READY)
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not slow and not long and not full_size"

# both, collected once
test-all: $(READY)
	$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder -m "not full_size"

# what takes many seconds: several processes, kills, studies, scripts that made what ships; CI runs it too
test-long: $(READY)
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m long

# tests whose result depends on how the processor rounds: as if on one with AVX2 with two threads, and on one with less
NUMERIC := $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "numeric and not slow and not long" $(shell grep -rl --include=*.py mark.numeric tests)
numeric: numeric-avx2 numeric-least

numeric-avx2: $(READY)
	ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 MKL_ENABLE_INSTRUCTIONS=AVX2 OMP_NUM_THREADS=2 OMP_WAIT_POLICY=PASSIVE $(NUMERIC)

numeric-least: $(READY)
	ATEN_CPU_CAPABILITY=default ONEDNN_MAX_CPU_ISA=SSE41 $(NUMERIC)

lint: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

mutants: $(READY)
	$(BIN)/python tests/mutants/run.py

# the mutants of the maths alone, which CI hunts every time
core-mutants: $(READY)
	$(BIN)/python tests/mutants/run.py --core

emoji: $(READY)
	$(BIN)/python scripts/build_emoji.py
	$(BIN)/python scripts/build_tokenizer.py

# rebuilds the small models; resumes from STATE, which is kept outside the tree
base: $(READY)
	$(BIN)/python scripts/build_base.py --state $(or $(STATE),$(HOME)/.cache/snrlab-base)

# trains and converts SD 1.5, SD 2 and SDXL models of full size (random weights); needs 20 GB of disk at STATE
full-size: $(READY)
	$(BIN)/python -m pytest -m full_size
	$(BIN)/python scripts/full_size.py --state $(or $(STATE),$(HOME)/.cache/snrlab-full-size) --log docs/full-size.log

# kills runs at 100 random moments and compares what they come to; stopped, it goes on in STATE
soak: $(READY)
	$(BIN)/python scripts/soak.py --state $(or $(STATE),$(HOME)/.cache/snrlab-soak) --log docs/soak.log

# trains what is missing of the studies in studies/, and writes their reports; stopped, it goes on
studies: $(READY)
	for study in studies/*/study.toml; do $(BIN)/snrlab study $$study --workers 2 || exit 1; done

# measures the small models again and writes their card
card: $(READY)
	$(BIN)/python scripts/build_card.py

# the site, into build/site: numbers, pictures, links and coverage are checked; make docs-write refreshes what is stale
docs: $(READY)
	$(BIN)/python scripts/build_docs.py --site

docs-write: $(READY)
	$(BIN)/python scripts/build_docs.py --write

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[train,optim,docs,dev]'
	touch $(READY)

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
