# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# `make help` says what there is. Everything that is installed is said before it is installed, and only once (see tools/env).
.POSIX:
.DEFAULT_GOAL := help
.PHONY: help setup demo check test test-all lines bench list clean pin

LINE ?= dynamic_global
LINES ?=
JOBS ?= 2
KEEP ?=
OS ?= bookworm
STAGES ?=
# The lab makes namespaces and bridges: root, or the same through sudo.
ROOT = $$([ "$$(id -u)" = 0 ] || echo "sudo -H --preserve-env=CI,TERM,XDG_CACHE_HOME")
RUN = tools/env run dev tools/inplace

help:
	@echo 'make demo                publish a server in the lab, prove it from outside, take it back'
	@echo '                         LINE=NAME or path/to/line.yml: another line; OS=trixie: Debian 13; KEEP=1: leave the lab up'
	@echo 'make check               linters, types, unit and contract tests (3 minutes)'
	@echo 'make test                everything that matters once (40 minutes); STAGES="units lint" runs only these'
	@echo 'make test-all            the full product of lines and systems'
	@echo 'make lines               what is said of every line, against what its file expects, as tables'
	@echo '                         LINES="cgn path/to/line.yml": only these; JOBS=1: labs at a time'
	@echo 'make list                the stages'
	@echo 'make bench               benchmarks beside netaddr, nmap, wait_for, upnpc and natpmpc'
	@echo 'make setup               only install what the commands above need'
	@echo 'make clean               remove what runs and dead labs left behind (labs that are up: tests/lab/lab down)'

setup:
	@$(ROOT) tools/env setup --debian base,lab,bench dev core218 newest importer

demo:
	@$(ROOT) tools/env setup --debian base,lab dev
	@$(ROOT) env LINE='$(LINE)' KEEP='$(KEEP)' OS='$(OS)' $(RUN) tests/e2e/demo

check:
	@tools/stages check $(STAGES)

test:
	@tools/stages test $(STAGES)

test-all:
	@tools/stages all $(STAGES)

lines:
	@$(ROOT) tools/env setup --debian base,lab dev
	@$(ROOT) $(RUN) tests/lab/lab images
	@# Shells may export LINES as the height of the terminal.
	@case '$(LINES)' in *[!0-9]*) set -- $(LINES) ;; esac; $(ROOT) $(RUN) tests/lines/run --jobs '$(JOBS)' "$$@"

bench:
	@$(ROOT) tools/env setup --debian base,lab,bench dev
	@$(ROOT) $(RUN) python bench/run.py

list:
	@tools/stages --list

pin:
	@tools/pin

clean:
	@[ ! -x tests/lab/lab ] || $(ROOT) tests/lab/lab sweep
	rm -rf tests/output .ansible .mypy_cache .ruff_cache .pytest_cache homeserver-hardening-*.tar.gz
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
