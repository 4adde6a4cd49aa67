# Every target does its own set-up; see README.md.
.PHONY: help demo demo-down test documents bench fuzz ci fmt

help:
	@echo 'make demo       both racks, a real app, from staging to production'
	@echo 'make demo-down  remove everything that the demo made'
	@echo 'make test       all tests, those with real containers included'
	@echo 'make documents  docs/openapi.json and docs/coverage.md, from routes and tests'
	@echo 'make bench      measured times, beside the floor of the same machine'
	@echo 'make fuzz       every parser of archives and manifests against strange input, a minute each'
	@echo 'make ci         format, lints, documentation, tests'

demo:
	@scripts/ensure-tools
	@scripts/ensure-docker
	@scripts/ensure-images
	cargo build --release --locked --workspace --bins
	@scripts/demo

demo-down:
	@scripts/demo-down

test:
	@scripts/ensure-tools registry
	@scripts/ensure-docker
	@scripts/ensure-images
	@scripts/test

documents:
	@scripts/ensure-tools registry
	@scripts/ensure-docker
	@scripts/ensure-images
	@scripts/documents

bench:
	@scripts/ensure-tools
	@scripts/ensure-docker
	@scripts/ensure-images
	cargo build --release --locked --workspace --bins
	@scripts/bench

fuzz:
	@scripts/ensure-tools fuzz
	@scripts/fuzz

ci:
	@scripts/ensure-tools
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	RUSTDOCFLAGS='-D warnings' cargo doc --workspace --no-deps --document-private-items --locked
	$(MAKE) test

fmt:
	cargo fmt --all
