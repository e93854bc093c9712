# Each target sets everything up by itself: it needs Python 3.11 or later and a package index, nothing else.
# A stamp in .venv says what is installed; it is made anew only when one of the files of DECLARED changes.

PYTHON ?= $(shell for each in python3.11 python3; do \
	$$each -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$each && break; done)
VENV := .venv
BIN := $(VENV)/bin
DECLARED := setup.cfg pyproject.toml constraints.txt
# two workers of one thread each; a file stays with one worker, so that its fixtures are made once
PYTEST := OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile

.DELETE_ON_ERROR:
.PHONY: demo test test-slow test-nightly coverage fuzz mutation docs lint arviz-1 lowest newest ecosystem supply release clean

# simulate with a known truth, fit, check, compare with the truth, report
demo: $(VENV)/.installed-test
	$(BIN)/popbias demo --out demo-run

test: lint
	$(PYTEST) -m "not slow"

test-slow: $(VENV)/.installed-test
	$(PYTEST) -m "slow and not nightly"

test-nightly: $(VENV)/.installed-test
	$(PYTEST) -m nightly

# which lines and branches all tests but the nightly ones run, and which test runs which line
COVERAGE ?= build/coverage
coverage: $(VENV)/.installed-test
	mkdir -p $(COVERAGE)
	COVERAGE_FILE=$(COVERAGE)/tests.coverage $(PYTEST) -m "not nightly" --cov --cov-context=test --cov-report=term \
		--cov-report=json:$(COVERAGE)/totals.json --junitxml=$(COVERAGE)/tests.xml -o junit_family=xunit1

# a day of random input to everything that is read from a disk; findings and corpus stay in build/fuzz
HOURS ?= 24
fuzz: $(VENV)/.installed-test $(VENV)/.installed-fuzz
	$(BIN)/python benchmarks/fuzz.py --out build/fuzz --hours $(HOURS)

# a sample of mutants against the tests that run their lines
SAMPLE ?= 250
mutation: $(VENV)/.installed-test $(VENV)/.installed-mutation coverage
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/mutation.py --out build/mutation --coverage $(COVERAGE) --sample $(SAMPLE)

# cells are executed again only when the package, a pinned version or the cells themselves have changed (docs/conf.py)
docs: $(VENV)/.installed-docs
	OMP_NUM_THREADS=1 $(BIN)/sphinx-build -n -W --keep-going -b html docs docs/_build/html

# mypy does not know that models/ and guides/ are pyro_popbias.models and pyro_popbias.guides: it is shown the package
# as it is when installed, as symbolic links
lint: $(VENV)/.installed-test
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	rm -rf build/typing
	mkdir -p build/typing/pyro_popbias
	cd build/typing/pyro_popbias && ln -s ../../../pyro_popbias/* ../../../models ../../../guides .
	$(BIN)/mypy

# the tests of the seam to ArviZ find this environment: ArviZ 1, which needs Python 3.12, and nothing else of the package's
PYTHON_ARVIZ_1 ?= python3.12
arviz-1: $(VENV)/.installed-test
	$(PYTHON_ARVIZ_1) -m venv --clear $(VENV)/arviz-1
	$(VENV)/arviz-1/bin/python -m pip install -q 'arviz >= 1' matplotlib

# the dependencies at their lowest declared versions, and at the newest ones; environments of several GB, in .venv
lowest: $(VENV)/.installed-release
	.ci/compatible lowest 3.11

newest: $(VENV)/.installed-release
	.ci/compatible newest 3.12
	.ci/compatible newest 3.13

# the interfaces to other packages, in an environment of their own in .venv
ecosystem: $(VENV)/.installed-release
	.ci/ecosystem

# in dist/: constraints with hashes, licences, bill of materials, audit
supply: $(VENV)/.installed-release
	.ci/supply

# in dist/: sdist and wheel, the same bytes wherever they are built
release: $(VENV)/.installed-release
	$(BIN)/python .ci/build_release.py . dist

clean:
	rm -rf build dist demo-run docs/_build docs/jupyter_execute .jupyter_cache
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage

$(VENV)/.installed-%: $(DECLARED)
	@test -n "$(PYTHON)" || { echo "Python 3.11 or later is needed; name one by PYTHON=..." >&2; exit 1; }
	$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[$*]'
	@touch $@
