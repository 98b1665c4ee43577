# `make` alone prints what there is. Each target sets up what it needs; set-up is done once.
.DEFAULT_GOAL := help
SHELL := /bin/sh
PYTHON := .venv/bin/python

# What makes .venv: the first Python 3.10-3.14 on the PATH, or the one named by `make PYTHON3=/path/to/python`. Set-up goes
# on with the Python that made a .venv that works, unless another one is named.
PYTHON3 ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11 python3.10 python $(PYTHON); do \
	$$p -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 14))' >/dev/null 2>&1 && echo $$p && break; done)

# TORCH=system uses the PyTorch that this Python has, TORCH=pinned installs ours; without it, set-up chooses

.PHONY: help setup model lab check container doctor clean

# what `make bundle` wrote has all packages in wheels/, and pip looks nowhere else (from the root, where set-up runs it)
ifneq ($(wildcard wheels/*.whl),)
export PIP_NO_INDEX := 1
export PIP_FIND_LINKS := wheels
endif

help:  ## print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' Makefile

setup:
	@test -n "$(PYTHON3)" || { echo "Set-up stopped: no Python 3.10 to 3.14 found. Install one, or name it: make PYTHON3=/path/to/python3.12" >&2; exit 1; }
	@$(PYTHON3) -m scripts.setup_environment $(TORCH) $(if $(filter file,$(origin PYTHON3)),,--this-python)

model: setup  ## fetch and convert the embedded model (the other targets do it too)
	@$(PYTHON) -m scripts.prepare_embedded_model

lab: model  ## open JupyterLab on the student notebooks; with options of its own: ARGS="--port=8899"
	@$(PYTHON) -m scripts.start_jupyterlab $(ARGS)

check: model  ## check your notebook of one lab: make check LAB=01
	@$(PYTHON) -m scripts.course.check $(LAB)

container:  ## build the container for a GPU and start JupyterLab in it (needs Docker and NVIDIA's container toolkit)
	@command -v docker >/dev/null || { echo "No Docker here: docs/container.md says what the container needs. Without it: make lab" >&2; exit 1; }
	@mkdir -p notebooks outputs "$${HF_HOME:-$$HOME/.cache/huggingface}"
	@LAB_UID=$$(id -u) LAB_GID=$$(id -g) docker compose up --build

doctor:  ## say what is installed, what is missing and what to do
	@test -n "$(PYTHON3)" || { echo "No Python 3.10 to 3.14 found. Install one, or name it: make PYTHON3=/path/to/python3.12" >&2; exit 1; }
	@$(PYTHON3) -m scripts.doctor

clean:  ## delete .venv, the fetched model and everything in outputs/
	@rm -rf .venv .venv.lock checkpoints/fetched *.egg-info .pytest_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
	@find outputs -mindepth 1 ! -name .gitkeep ! -path outputs/attention_patterns ! -path outputs/patching_results \
		! -path outputs/sae_features -delete

# instructors only: `make student` leaves out what stands from here to the end
.PHONY: labs site test test-quick release student bundle grade class report stability lock-check

labs: model  ## execute every solved lab, results in outputs/; some: LAB="02 03"; one after another: JOBS=1
	@$(PYTHON) -m scripts.run_labs $(LAB) $(if $(JOBS),--jobs $(JOBS))

site: model  ## pages and executed labs as one offline site in outputs/site; for a class: STUDENTS=1; run no lab: RUN=no
	@$(PYTHON) -m scripts.build_site $(if $(STUDENTS),--students) $(if $(filter no,$(RUN)),--no-run)

test: model  ## run the whole test suite
	@$(PYTHON) -m pytest

test-quick: model  ## what to run while editing: no notebooks, nothing that takes long
	@$(PYTHON) -m pytest --quick

release: setup  ## regenerate notebooks/ from solutions/, and docs/api.md from the docstrings
	@$(PYTHON) -m scripts.course.release
	@$(PYTHON) -m scripts.course.api_page

student: setup  ## write what students get, as a folder and a zip archive: make student DEST=dir
	@$(PYTHON) -m scripts.course.student_half "$(DEST)"

bundle: setup  ## a folder for a classroom without a network: make bundle DEST=dir; for other machines: FOR=linux-x86_64-3.12
	@$(PYTHON) -m scripts.course.bundle "$(DEST)" $(FOR)

grade: model  ## grade a class: make grade SUBMISSIONS=dir OUT=dir; and ROSTER=class.csv LATE=late.toml PSEUDONYMS=1
	@$(PYTHON) -m scripts.course.grade "$(SUBMISSIONS)" "$(OUT)" $(if $(ROSTER),--roster "$(ROSTER)") \
		$(if $(LATE),--late "$(LATE)") $(if $(PSEUDONYMS),--pseudonyms)

class: model  ## grade a made-up class whose points are known: make class DEST=dir; STUDENTS=6 LABS="01 02"; whole notebooks: WHOLE=1
	@$(PYTHON) -m tests.synthetic_class "$(or $(DEST),outputs/class)" $(if $(LABS),--labs $(LABS)) \
		$(if $(STUDENTS),--students $(STUDENTS)) $(if $(WHOLE),--whole) $(if $(JOBS),--jobs $(JOBS))

report: setup  ## renew the CSV and pages after grading by hand: make report OUT=dir
	@$(PYTHON) -m scripts.course.report "$(OUT)"

stability: model  ## run the notebooks again, each cell twice in a row, on two threads and on one; no output may differ
	@for threads in 2 2 1; do OMP_NUM_THREADS=$$threads $(PYTHON) -m pytest solutions --own-kernels -n 0 || exit 1; done

lock-check: setup  ## check that the pinned set resolves on each Python and platform; needs the network
	@$(PYTHON) -m scripts.check_requirements
# end of instructors only
