# Short names. `cargo run` and `cargo test --workspace` do without.

.PHONY: help run test test-faults test-rolling test-standby test-upgrade asvs attacks contract clients fuzz bench bench-growth timing crowd check fmt lint doc deny docker openapi clean

help: ## lists these names
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## runs the service, in development, on 127.0.0.1:8080
	cargo run

test: ## runs all tests; they start their own PostgreSQL
	cargo test --workspace

test-upgrade: ## runs the previous release beside this version, migrates and replaces both under traffic (two minutes and a build)
	cargo build --locked --workspace --bin portcullis --example upgrade
	target/debug/examples/upgrade

asvs: ## prints what the service makes of each requirement of the OWASP ASVS
	@cargo run --quiet --package portcullis-e2e --example asvs

contract: ## holds the server against its OpenAPI document, over both databases, with schemathesis (some minutes)
	@cargo run --quiet --package portcullis-e2e --example contract -- $(ARGS)

clients: ## generates clients from the OpenAPI document, type-checks and runs them, and runs the snippets of docs/resource-servers.md
	@cargo run --quiet --package portcullis-e2e --example clients

attacks: ## tries all attacks of docs/security/attacks.toml over both databases, and says how many
	cargo test --package portcullis-e2e --test e2e corpus -- --nocapture

test-faults: ## kills, freezes and cuts the power under load, ROUNDS times (20), and prints a table; needs root (docs/operations/faults.md)
	cargo build --workspace --bin portcullis --example faults
	target/debug/examples/faults $(ARGS)

bench: ## measures the service beside what it is compared with; takes about a quarter of an hour
	cargo build --release --package portcullis-server
	cargo run --release --package portcullis-bench

bench-growth: ## measures login, refresh and /me with up to a million users (some minutes and 3 GB of disk)
	cargo build --release --package portcullis-server --package portcullis-bench
	target/release/portcullis-bench growth

timing: ## measures whether times tell why a login was refused, and what sealing costs (some minutes)
	cargo build --release --package portcullis-server --package portcullis-bench
	target/release/portcullis-bench timing
	target/release/portcullis-bench sealing

crowd: ## measures whether account owners can log in while many clients try wrong passwords (about ten minutes)
	cargo build --release --package portcullis-server --package portcullis-bench
	target/release/portcullis-bench crowd

test-standby: ## freezes a synchronous standby for minutes while a client logs out (docs/operations/revocation.md)
	cargo test --workspace --locked --test e2e standby:: -- --ignored --nocapture

test-rolling: ## restarts three instances behind nginx under traffic for minutes, and lets commits hang for half a minute
	PORTCULLIS_TEST_ROLLING_ROUNDS=$(or $(ROUNDS),5) cargo test --workspace --locked --test e2e rolling:: -- --nocapture
	PORTCULLIS_TEST_HANG_SECONDS=30 cargo test --workspace --locked --test e2e hanging_commits -- --nocapture

fuzz: ## tries to break the parsers, each for FUZZ_SECONDS (60); needs a nightly toolchain and cargo-fuzz
	fuzz/run

check: ## checks all that CI checks
	.ci/run

fmt: ## formats the sources
	cargo fmt --all

lint: ## runs clippy over everything
	cargo clippy --workspace --all-targets -- -D warnings

doc: ## builds the documentation of the crates and opens it
	cargo doc --workspace --no-deps --open

deny: ## checks licences, sources, layers and advisories (needs cargo-deny and the network)
	cargo deny check

docker: ## builds the image
	docker build --file docker/Dockerfile --tag portcullis .

openapi: ## prints the OpenAPI document
	@cargo run --quiet -- openapi

clean: ## removes what cargo built
	cargo clean
