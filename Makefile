.PHONY: demo checkpoints docs test test-plain test-newest test-install test-versions test-slow test-browser test-hostile style quality

PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed
SITE := "import sysconfig; print(sysconfig.get_path('purelib'))"
# Two workers of one thread each are faster on small tensors than one worker of two threads.
WORKERS ?= 2
# A test that takes the network would pass on one machine and fail on the next.
PYTEST = HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

# Train a small captioner on generated scenes, load it back as a pipeline, show where it looked, and say what comes next.
demo: $(INSTALLED)
	$(BIN)/python scripts/caption_scenes.py

# The documents and the reference as a site in site/, out of the docstrings. A broken link is an error; none is fetched.
docs: $(INSTALLED)
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

# Train the small models that the package ships, and package them: hours. ARGS="--only toy-translator" makes one.
checkpoints: $(INSTALLED)
	$(BIN)/python scripts/make_checkpoints.py $(ARGS)

test: $(INSTALLED)
	$(PYTEST) -m "not slow" $(ARGS)

# The models without hf_attention.fast, as those have them who load a checkpoint by its own code. What is left out is
# other people's models, does without it anyway, runs on both sides of the door by itself, or computes nothing.
OTHERS := arguments backbones fifth_* growth image_sizes ordinary_processors picture_answers processing_* ranges \
	remote_code* text_families tokenization_* tools versions what_travels
test-plain: $(INSTALLED)
	HF_ATTENTION_FAST=0 $(PYTEST) -m "not slow" tests/models $(OTHERS:%="--ignore-glob=tests/models/test_%.py") $(ARGS)

# With what the package needs as new as pyproject.toml allows; torch alone is that of constraints.txt. Left out are those
# that run once more what the others run. What is as new in .venv already is taken from there.
AGAIN := command_line metrics scenes seeing training/data training/loop \
	$(patsubst %,test_%.py,benchmark documents lecture site your_own_photos)
test-newest: private BIN := .venv-newest/bin
test-newest: $(INSTALLED)
	test -x $(BIN)/python || .venv/bin/python -m venv --without-pip .venv-newest
	.venv/bin/python -c $(SITE) > $$($(BIN)/python -c $(SITE))/parent.pth
	$(BIN)/python -m pip install --no-compile --upgrade --upgrade-strategy eager \
		"$$(grep ^torch== constraints.txt)" -e ".[dev]"
	$(PYTEST) -m "not slow" $(AGAIN:%=--ignore=tests/%) $(ARGS)

# What people install: the wheel in a bare environment, and the sdist.
test-install: $(INSTALLED)
	PYTHON=$(BIN)/python bash tests/install/run.sh

# Every minor of transformers that the package is for, and checkpoints between them; takes hours.
test-versions: $(INSTALLED)
	$(BIN)/python tests/versions/run.py $(ARGS)

test-slow: $(INSTALLED)
	$(PYTEST) -m slow $(ARGS)

# Uses the pages in a real browser; needs chromium (Debian: apt-get install chromium).
test-browser: $(INSTALLED)
	$(BIN)/python -m pip install -c constraints.txt -e ".[browser]"
	$(PYTEST) tests/demo/test_web_page_browser.py tests/seeing/test_page_browser.py $(ARGS)

# Kills, signals, damage, a full disk and bad input; at the end a table says what each case ended in. Loopback only.
test-hostile: $(INSTALLED)
	$(PYTEST) tests/hostile $(ARGS)

# Rewrite the files in the project's style.
style: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The same checks, without changing anything.
quality: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

$(INSTALLED): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --no-compile -c constraints.txt -e ".[dev]"
	touch $@
