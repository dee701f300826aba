# hotmap's targets: `make` alone lists them. Every target that builds calls scripts/setup first, which costs
# nothing once the machine has all it needs.

PROFILE ?= release
JSON ?=
# PLOT=1: make bench draws docs/evidence/growth.svg and memmap.svg.
PLOT ?=
RECORD ?=
# Groups of boot tests for make test (tests.toml lists them), and whether their results are TAP.
GROUP ?=
TAP ?=
# More options for scripts/qemu (run, gdb), e.g. make run QEMU_OPTIONS="--granule 64k --cpu neoverse-n1"
QEMU_OPTIONS ?=

# rustup's usual place, for shells that have not read its settings yet.
export PATH := $(PATH):$(HOME)/.cargo/bin

target := aarch64-unknown-none-softfloat
build_dir := $(if $(CARGO_TARGET_DIR),$(CARGO_TARGET_DIR),target)
cargo_profile := $(if $(filter debug,$(PROFILE)),kernel-debug,$(PROFILE))
elf := $(build_dir)/$(target)/$(cargo_profile)/hotmap
image := target/hotmap.Image
page_dir := playground/page
report := target/report
host_packages := -p hotmap-mm -p hotmap-sync -p hotmap-devicetree -p hotmap-acpi -p virtio-mem -p hotmap-resize -p hotmap-kernel -p hotmap-shell -p hotmap-emulator -p hotmap-testkit -p hotmap-archmodel -p hotmap-client -p hotmap-view -p hotmap-watch -p hotmap-playground -p hotmap-counter -p hotmap-tests
kernel_packages := -p hotmap -p hotmap-kernel -p hotmap-shell -p hotmap-mm -p hotmap-sync -p hotmap-devicetree -p hotmap-acpi -p virtio-mem -p hotmap-resize
# cargo's progress is for a terminal; a log gets one line, and the errors.
quiet := $(shell test -t 2 || echo --quiet)
host_tool := cargo run $(quiet) -p hotmap-tests --bin

.DEFAULT_GOAL := help
.PHONY: help run demo test test-long check check-miri check-docs bench bench-linux gdb image dist clean fmt setup setup-build setup-gdb setup-web \
	wasm page playground watch test-web report
.NOTPARALLEL:
MAKEFLAGS += --no-print-directory

help:
	@echo 'hotmap: an arm64 mini-kernel about memory that is added and removed while it runs'
	@echo
	@echo '  make demo         the whole life of a hot-plugged DIMM, narrated'
	@echo '  make report       the demo, and a page of its run with pictures: $(report)/index.html'
	@echo '  make run          the kernel on QEMU, with its shell (Ctrl-A X quits)'
	@echo '  make test         all tests: host tests, then boot tests under QEMU'
	@echo '                    (GROUP="life smp": these groups of boot tests; TAP=1: boot tests as TAP; JUNIT=file: XML)'
	@echo '  make test-long    all tests, with more random sequences and those that take long'
	@echo '  make check        the fast part: format, clippy, host tests; no QEMU'
	@echo '  make check-miri   the memory model under Miri (installs a nightly toolchain)'
	@echo '  make bench        guest instructions per operation, beside Linux (JSON=1: as JSON; PLOT=1: pictures in docs/evidence too)'
	@echo '  make bench-linux  the same on Debian'"'"'s Linux kernels, side by side: downloads 200 MB, then 10 to 20 minutes'
	@echo '                    (JSON=1: as JSON; RECORD=1: docs/evidence/linux.md, with which make bench compares)'
	@echo '  make check-docs   run again every command that the documents quote, and compare'
	@echo '  make playground   the memory model in the browser: builds one page and serves it (PORT=8000; Ctrl-C ends it)'
	@echo '  make watch        a live guest in that page: plug a DIMM at the monitor, and watch it arrive (PORT=8000)'
	@echo '  make test-web     the tests of that page, in Chromium; screenshots in target/playground/screenshots'
	@echo '  make gdb          the kernel in a debugger (PROFILE=debug: with locals); scripts/console is its console'
	@echo '  make image        only build target/hotmap.Image, at most 1 MiB (PROFILE=debug: with debug checks)'
	@echo '  make dist         dist/hotmap-VERSION.tar.gz: image, symbols, clients, examples, pages; no repository needed'
	@echo '  make fmt          format the source'
	@echo '  make clean        remove what was built'
	@echo
	@echo 'QEMU_OPTIONS="..." passes options to scripts/qemu (its --help lists them); QEMU=path chooses the binary.'

# Paths in the image, its symbols and the playground's module do not depend on the folder: those of the registry's crates
# begin with the crate's name, those of the standard library are rustc's own (the component rust-src would replace them), the
# rest is in /hotmap.
remap = --config "target.$(1).rustflags=['--remap-path-prefix=$(CURDIR)=/hotmap', \
	'--remap-path-prefix=$$(rustc --print sysroot)/lib/rustlib/src/rust=/rustc/$$(rustc -vV | sed -n "s/^commit-hash: //p")']" \
	$$(for d in $${CARGO_HOME:-$$HOME/.cargo}/registry/src/*/; do \
	printf "%s " "--config" "target.$(1).rustflags=['--remap-path-prefix=$$d=']"; done)

setup:
	@scripts/setup

setup-gdb:
	@scripts/setup --gdb

setup-web:
	@scripts/setup --web

# Building needs no QEMU.
setup-build:
	@scripts/setup --no-qemu

image: setup-build
	@case '$(PROFILE)' in release | debug) ;; *) \
		echo 'error: PROFILE is release or debug, not $(PROFILE)' >&2; exit 2 ;; esac
	@cargo fetch $(quiet) --locked
	@$(if $(quiet),echo 'building the kernel ($(PROFILE)) ...' >&2)
	@cargo build $(quiet) --profile $(cargo_profile) -p hotmap --target $(target) $(call remap,$(target))
	@scripts/image $(if $(filter debug,$(PROFILE)),--no-limit) $(elf) $(image)

run: setup image
	@scripts/qemu $(QEMU_OPTIONS)

# The program builds while the kernel does: linking the kernel keeps one CPU busy.
demo: setup
	@test -e $(image) -a -e $(build_dir)/debug/demo || \
		echo 'demo: building the kernel and the program that drives it: about a minute and a half on 2 CPUs, the first time' >&2
	@cargo fetch $(quiet) --locked
	@cargo build --quiet -p hotmap-tests --bin demo & program=$$!; $(MAKE) image; built=$$?; \
		$(if $(quiet),kill -0 $$program 2>/dev/null && echo 'building the demo ...' >&2;) \
		wait $$program && test $$built = 0
	@$(host_tool) demo

# The demo's run as one page.
report: image $(page_dir)/node_modules/.package-lock.json
	@mkdir -p $(report)
	@$(host_tool) demo -- --record $(report)/demo.json
	@node $(page_dir)/report.js $(report)/demo.json $(report)/index.html

dist:
	@test $(PROFILE) = release || { echo 'error: make dist packs the release image, not PROFILE=$(PROFILE)' >&2; exit 2; }
	@$(MAKE) image
	@scripts/dist $(elf) $(image)

# scripts/test builds the image, after the host tests: a build that fails is counted.
test: setup
	@scripts/test $(if $(GROUP),--group "$(GROUP)") $(if $(filter-out 0,$(TAP)),--tap)

test-long: setup
	@scripts/test --long

bench: setup image
	@$(host_tool) bench -- $(if $(filter-out 0,$(JSON)),--json) $(if $(filter-out 0,$(PLOT)),--plot docs/evidence)

bench-linux: setup image
	@$(host_tool) bench-linux -- $(if $(filter-out 0,$(JSON)),--json) $(if $(filter-out 0,$(RECORD)),--record)

gdb: setup-gdb image
	@scripts/gdb $(elf) $(QEMU_OPTIONS)

# The page: npm's packages as the lock file has them, without those that are native programs for other systems.
page := target/playground/index.html
wasm := $(build_dir)/wasm32-unknown-unknown/playground/hotmap_playground.wasm

wasm: setup-web
	@cargo rustc $(quiet) --locked --profile playground -p hotmap-playground --lib --target wasm32-unknown-unknown \
		$(call remap,wasm32-unknown-unknown) --crate-type cdylib

$(page_dir)/node_modules/.package-lock.json: $(page_dir)/package-lock.json
	@cd $(page_dir) && npm ci --omit=optional --no-audit --no-fund --loglevel=error
	@touch $@

page: wasm $(page_dir)/node_modules/.package-lock.json
	@node $(page_dir)/build.js $(wasm) $(page)

PORT ?= 8000
playground: page
	@echo 'http://127.0.0.1:$(PORT)/ (Ctrl-C ends it; $(page) works as a file too)'
	@python3 -m http.server --bind 127.0.0.1 --directory $(dir $(page)) $(PORT) 2>/dev/null || \
		{ status=$$?; test $$status = 130 || { echo "error: port $(PORT) cannot be used: make playground PORT=8001"; exit 1; }; }

watch: setup image page
	@cargo run $(quiet) -p hotmap-watch -- --port $(PORT) --page $(page) $(if $(QEMU_OPTIONS),-- $(QEMU_OPTIONS))

# The page in a browser; then its machine against the kernel under QEMU.
test-web: setup image page
	@cargo build $(quiet) -p hotmap-watch
	@cd $(page_dir) && WATCH=$(abspath $(build_dir))/debug/watch WASM=$(CURDIR)/$(wasm) node --test --test-reporter=spec ../tests/module.test.js test/*.test.js
	@$(page_dir)/test/compare $(wasm)

check: setup-build
	@cargo fmt --all --check
	@cargo clippy $(quiet) $(host_packages) --all-targets -- -D warnings
	@cargo clippy $(quiet) $(kernel_packages) --target $(target) -- -D warnings
	@scripts/test --host

check-miri: setup-build
	@scripts/check-miri

check-docs: setup image
	@scripts/check-docs

fmt: setup-build
	@cargo fmt --all

clean:
	@cargo clean $(quiet) || rm -rf $(build_dir)
	@rm -rf $(image) dist target/test-logs target/gdb-console.log .cache
