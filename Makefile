# lmqgate. "make" alone lists the targets.

.DEFAULT_GOAL := help
SHELL := /bin/sh

GOLANGCI_VERSION := v2.15.0
BUF_VERSION      := v1.75.0
GOVULNCHECK_VERSION := v1.9.0
MISSPELL_VERSION := v0.8.0
GRPCIO_TOOLS_VERSION := 1.76.0

# The first is the recommended one, which everything is tested with. To support another, add a word. With those of ROCKETMQ_BRIEFLY only
# the main tests are run; "make test-rocketmq-5.5.0 ROCKETMQ_BRIEFLY=" tests one of them like the others.
ROCKETMQ_VERSIONS := 5.4.0 5.1.4 5.5.0
ROCKETMQ_BRIEFLY := 5.5.0

# Go compiles a tool once and keeps it in its build cache, which clones on one machine share.
GOLANGCI    := go run github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_VERSION)
BUF         := go run github.com/bufbuild/buf/cmd/buf@$(BUF_VERSION)
GOVULNCHECK := go run golang.org/x/vuln/cmd/govulncheck@$(GOVULNCHECK_VERSION)
MISSPELL    := go run github.com/golangci/misspell/cmd/misspell@$(MISSPELL_VERSION)
PROTOC_PYTHON := $(CURDIR)/.cache/protoc-python-$(GRPCIO_TOOLS_VERSION)

# The tag where there is one, else the release that cmd/lmqgate/version.go names.
VERSION := $(patsubst v%,%,$(shell git describe --tags --match 'v[0-9]*' --dirty 2>/dev/null || sed -n 's/^const release = "\(.*\)"/\1/p' cmd/lmqgate/version.go))
COMMIT  := $(shell git rev-parse --short=12 HEAD 2>/dev/null)
LDFLAGS := -s -w -X main.buildVersion=$(VERSION) $(if $(COMMIT),-X main.buildCommit=$(COMMIT))
# Static and stripped, so that a binary runs on any Linux. The tag leaves out gRPC's pages for tracing, which nothing serves: they bring
# html/template, and with it the linker keeps every exported method of everything.
GOBUILD := CGO_ENABLED=0 go build -trimpath -tags grpcnotrace -ldflags '$(LDFLAGS)'

# Each directory of plugins/ with a main.go is a plugin.
PLUGINS := $(patsubst plugins/%/main.go,%,$(wildcard plugins/*/main.go))

# Packages with tests that want a RocketMQ, found by what they import.
ROCKETMQ_PACKAGES = $(shell grep -rl --include='*_test.go' 'lmqgate/test/rocketmq/cluster"' . | xargs -r -n1 dirname | sort -u)

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# A plugin that others may write is refused by the gateway, so the umask matters.
.PHONY: build
build: ## Build bin/lmqgate and bin/plugins/*
	@umask 022; mkdir -p bin/plugins; chmod go-w bin bin/plugins; \
	set -e; $(GOBUILD) -o bin/lmqgate ./cmd/lmqgate; \
	$(GOBUILD) -o bin/plugins/ $(PLUGINS:%=./plugins/%); \
	chmod go-w bin/lmqgate bin/plugins/*

.PHONY: run
run: build ## Build, and serve conf/standalone.yaml on loopback
	@exec bin/lmqgate serve --config conf/standalone.yaml

.PHONY: test
test: test-unit test-fuzz test-authors test-chart test-alerts test-dist test-e2e ## Run every test, also on RocketMQ; fetches what it needs

# Test programs are linked without a debugger's data, which halves the time. What go vet finds is a matter of make lint. On a busy machine a
# sound plugin may be late, so the conformance kit is patient.
GOTEST := LMQGATE_PLUGINTEST_PATIENCE=10 go test -vet=off -ldflags=-w

# The longest packages come first. Tests often wait for processes and for time to pass, so more of them run concurrently than there are
# processors. With the race detector garbage collections are dear, so there are fewer of them, and a process would stay for a second at its
# end, for races of goroutines that are left. goleak finds these goroutines where there are any.
SLOW_PACKAGES := ./core/pluginhost ./core/mqtt ./plugins/sdk/plugintest ./plugins/meta-etcd ./core/meta ./core/store/local ./core/session \
	./plugins/meta-local ./plugins/auth-jwt ./cmd/lmqgate ./core/cluster ./plugins/auth-file ./core/meta/migration/coordinator \
	./plugins/auth-http ./internal/mqttload ./core/store/rocketmq ./remoting

.PHONY: test-unit
test-unit: ## Run the tests that need nothing but Go, with the race detector
	GOGC=400 GORACE=atexit_sleep_ms=50 LMQGATE_ROCKETMQ= LMQGATE_REQUIRE_ROCKETMQ= $(GOTEST) -race -p $$((2 * $$(getconf _NPROCESSORS_ONLN) + 1)) -parallel 8 -timeout 15m \
		$(SLOW_PACKAGES) $$(go list ./... | grep -v '/test/')

.PHONY: test-authors
test-authors: test-packages ## Test what authors of plugins are given: projects, tutorial, Python, examples
	$(GOTEST) -count=1 -parallel 4 -timeout 15m ./test/authors

.PHONY: test-e2e
test-e2e: $(ROCKETMQ_VERSIONS:%=test-rocketmq-%) ## Run the whole-system tests, and what needs a RocketMQ, on each version

# Everything with the recommended version. With the others what can depend on it: the store, meta-namesrv, what doctor reads of brokers,
# and the tests of onEachVersion in test/e2e. One package runs at a time: two side by side gain a tenth of the time, and make each other
# wait. core/meta has one test that wants name servers; its others are unit tests, and so are those of docs.
.PHONY: $(ROCKETMQ_VERSIONS:%=test-rocketmq-%)
$(ROCKETMQ_VERSIONS:%=test-rocketmq-%): test-rocketmq-%: test-packages
	@echo "RocketMQ $*:"
	LMQGATE_ROCKETMQ=$* LMQGATE_VERSION_RUN=$(if $(filter $*,$(firstword $(ROCKETMQ_VERSIONS))),,$(if $(filter $*,$(ROCKETMQ_BRIEFLY)),brief,1)) \
		$(GOTEST) -count=1 -p 1 -timeout 30m ./test/e2e ./core/store/rocketmq \
		$(if $(filter $*,$(ROCKETMQ_BRIEFLY)),,$(filter-out ./test/% ./core/meta ./core/store/rocketmq ./docs,$(ROCKETMQ_PACKAGES)))
	$(if $(filter $*,$(firstword $(ROCKETMQ_VERSIONS))),LMQGATE_ROCKETMQ=$* $(GOTEST) -count=1 -p 1 -timeout 30m \
		$$(go list ./test/... | grep -v '/test/authors$$\|/test/e2e$$'))
	$(if $(filter $*,$(firstword $(ROCKETMQ_VERSIONS))),LMQGATE_ROCKETMQ=$* $(GOTEST) -count=1 -run MetaNamesrv ./core/meta)

.PHONY: test-two-nodes
test-two-nodes: test-packages ## Run the whole-system tests with publishers and subscribers on two nodes behind a load balancer; CASE=…
	LMQGATE_E2E_NODES=2 LMQGATE_ROCKETMQ=$${LMQGATE_ROCKETMQ:-$(firstword $(ROCKETMQ_VERSIONS))} \
		go test -count=1 -v -timeout 60m -run '$(CASE)' ./test/e2e

FUZZTIME ?= 30s
# Where go keeps the inputs that were worth keeping.
FUZZCACHE ?= $(shell go env GOCACHE)/fuzz/$(shell go list -m)
# -fuzz builds for guidance by coverage.
FUZZBUILD ?= -fuzz .

# Each package is built once for all of its targets.
.PHONY: fuzz
fuzz: ## Run each fuzz target for FUZZTIME (30s, or 1000x for as many inputs); unit tests run their seeds
	@set -e; built=$$(mktemp -d); trap 'rm -rf "$$built"' EXIT; \
	grep -rE --include='*_test.go' --exclude-dir=examples '^func Fuzz' . | sed -E 's|^\./(.*)/[^/]*:func (Fuzz[A-Za-z0-9_]*).*|\1 \2|' | sort | while read -r dir target; do \
		bin=$$built/$$(echo "$$dir" | tr / +); \
		[ -x "$$bin" ] || $(GOTEST) -c $(FUZZBUILD) -o "$$bin" "./$$dir"; \
		echo "$$target in $$dir"; \
		(cd "$$dir" && "$$bin" -test.run '^$$' -test.fuzz "^$$target\$$" -test.fuzztime $(FUZZTIME) -test.fuzzcachedir "$(FUZZCACHE)/$$dir"); \
	done

# A number of inputs, because a run that is bounded in time may end with an error of its own on a busy machine. Guidance by coverage is
# worth nothing in so short a run, and would compile every dependency once more; with the race detector they are compiled already.
.PHONY: test-fuzz
test-fuzz: ## Run each fuzz target with a few hundred inputs
	@cache=$$(mktemp -d); trap 'rm -rf "$$cache"' EXIT; $(MAKE) --no-print-directory fuzz FUZZTIME=300x FUZZBUILD=-race FUZZCACHE="$$cache"

.PHONY: conformance
conformance: ## Write docs/conformance.md from the tests and docs/conformance
	go run ./docs/conformance

# command:package, for Debian and its relatives.
TEST_PACKAGES := chromium:chromium java:default-jre-headless mvn:maven mosquitto_pub:mosquitto-clients python3:python3

.PHONY: test-packages
test-packages:
	@missing=; for pair in $(TEST_PACKAGES); do \
		command -v $${pair%%:*} >/dev/null 2>&1 || missing="$$missing $${pair#*:}"; \
	done; \
	python3 -c 'import ensurepip, venv' 2>/dev/null || missing="$$missing python3-venv"; \
	[ -z "$$missing" ] && exit 0; \
	if [ "$$(id -u)" != 0 ] || ! command -v apt-get >/dev/null 2>&1; then \
		echo "make: the tests need these packages, which only root can install:$$missing" >&2; exit 1; \
	fi; \
	echo "installing$$missing"; \
	apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $$missing

.PHONY: lint
lint: ## Run every linter, at pinned versions: modules, Go, spelling, contract, known vulnerabilities
	go mod tidy -diff
	cd examples/meta-sqlite && go mod tidy -diff
	cd test/peers && go mod tidy -diff
	$(GOLANGCI) run ./...
	git ls-files '*.md' '*.yaml' '*.yml' '*.py' '*.proto' | xargs $(MISSPELL) -error -i mosquitto,levle,versoin
	cd plugins/proto && $(BUF) lint
	plugins/proto/check-breaking.sh $(BUF)
	@if curl -sfI --max-time 10 https://vuln.go.dev/index/db.json >/dev/null; then $(GOVULNCHECK) ./...; \
	else echo "govulncheck: skipped, because its database at https://vuln.go.dev does not answer"; fi

.PHONY: proto
proto: $(PROTOC_PYTHON)/done ## Generate Go and Python from plugins/proto
	cd plugins/proto && $(BUF) generate
	cd plugins/proto && $(PROTOC_PYTHON)/bin/python -m grpc_tools.protoc -I . \
		--python_out=../python --pyi_out=../python lmqgate/plugin/v1/*.proto

.PHONY: proto-freeze
proto-freeze: ## Freeze the contract as it is, at a release; see plugins/proto/COMPATIBILITY.md
	cd plugins/proto && $(BUF) build --exclude-source-info -o frozen/v1.binpb

# FULL=1 makes the tests longer and larger. CASE is a part of a test's name, SEED the first seed, RUNS how many there are. OLD is the older
# release of the test of an upgrade, as git names it; without it the newest tag is taken.
.PHONY: fault
fault: test-packages ## Break things while clients are at work, and count what it costs; CASE=… SEED=… RUNS=… FULL=1 OLD=…
	LMQGATE_ROCKETMQ=$${LMQGATE_ROCKETMQ:-$(firstword $(ROCKETMQ_VERSIONS))} LMQGATE_FAULT=1 LMQGATE_FAULT_FULL=$(FULL) LMQGATE_FAULT_SEED=$(SEED) LMQGATE_FAULT_RUNS=$(RUNS) LMQGATE_FAULT_OLD=$(OLD) \
		go test -tags fault -count=1 -v -timeout 120m -run '$(CASE)' ./test/fault
	LMQGATE_ROCKETMQ=$${LMQGATE_ROCKETMQ:-$(firstword $(ROCKETMQ_VERSIONS))} \
		go test -tags fault -count=1 -v -timeout 10m -run 'TestSubscribersThatMove.*$(CASE)' ./test/e2e

MINUTES ?= 10

.PHONY: soak
soak: test-packages ## Break things with random seeds for MINUTES (10); a test that fails names its seed
	@until=$$(($$(date +%s) + 60 * $(MINUTES))); while [ $$(date +%s) -lt $$until ]; do \
		LMQGATE_ROCKETMQ=$${LMQGATE_ROCKETMQ:-$(firstword $(ROCKETMQ_VERSIONS))} LMQGATE_FAULT=1 LMQGATE_FAULT_FULL=$(FULL) LMQGATE_FAULT_SEED=random \
			go test -count=1 -v -timeout 60m -run '$(CASE)' ./test/fault || exit 1; \
	done

.PHONY: abuse
abuse: ## Hostile clients at full size against a gateway; about 8 minutes; CASE=name of a load, such as retained
	LMQGATE_ABUSE=full go test -count=1 -v -timeout 20m -run 'TestHonestClientsHardlyNoticeHostileLoads/$(CASE)' ./test/abuse

ROUNDS ?= 5

# SCENARIOS is a list with commas; go run ./test/bench -help has the names.
.PHONY: bench
bench: build test-packages ## Measure beside other brokers, in turns, and write docs/performance.md; SCENARIOS=p2p,conn ROUNDS=5
	@$(MAKE) --no-print-directory -k peers || echo "make bench leaves out the brokers that could not be built"
	go run ./test/bench -bin bin -rocketmq $(firstword $(ROCKETMQ_VERSIONS)) -rounds $(ROUNDS) -scenarios '$(SCENARIOS)'

# Debian's mosquitto is found where its package puts it.
.PHONY: peers peers-go
peers: peers-go .cache/peers/hivemq/done ## Build the brokers that make bench compares with: mochi, NATS, HiveMQ CE

peers-go:
	@mkdir -p .cache/peers
	cd test/peers && go build -o ../../.cache/peers/mochi ./mochi
	cd test/peers && go build -o ../../.cache/peers/nats-server github.com/nats-io/nats-server/v2

.cache/peers/hivemq/done: test/peers/hivemq/pom.xml test/peers/hivemq/Hivemq.java
	@command -v mvn >/dev/null && command -v javac >/dev/null || { echo "make: HiveMQ CE needs the packages maven and default-jdk-headless" >&2; exit 1; }
	rm -rf .cache/peers/hivemq
	mvn -q -B -f test/peers/hivemq/pom.xml dependency:copy-dependencies -DoutputDirectory=$(CURDIR)/.cache/peers/hivemq
	javac -d .cache/peers/hivemq -cp '.cache/peers/hivemq/*' test/peers/hivemq/Hivemq.java
	@touch $@

.PHONY: rocketmq-up
rocketmq-up: test-packages ## Start a RocketMQ on free loopback ports; says where it is
	@go run ./test/rocketmq up

.PHONY: rocketmq-down
rocketmq-down: ## Stop the RocketMQ of rocketmq-up
	@go run ./test/rocketmq down

DIST_PLATFORMS ?= linux/amd64 linux/arm64 darwin/amd64 darwin/arm64

.PHONY: dist
dist: ## Write archives, .deb, .rpm, container image, bill of materials and SHA256SUMS of a release to dist/
	deploy/dist.sh dist "$(VERSION)" "$(COMMIT)" $(DIST_PLATFORMS)

.PHONY: test-dist
test-dist: ## Make a release for this machine, install, serve and purge it in root directories of its own; as root
	rm -rf .cache/dist
	deploy/dist.sh .cache/dist "$(VERSION)" "$(COMMIT)" linux/$$(go env GOARCH)
	LMQGATE_DIST=$(CURDIR)/.cache/dist go test -count=1 -v -timeout 10m ./deploy

.PHONY: test-chart
test-chart: ## Lint and render the Helm chart with Helm's library, which it fetches
	cd deploy/helm && go test -count=1 ./...

.PHONY: test-alerts
test-alerts: ## Check the alert rules and the Grafana dashboard with Prometheus' library, which it fetches
	cd deploy/prometheus && go test -count=1 ./...

.PHONY: clean
clean: ## Remove what the other targets built (not data, not downloads)
	rm -rf bin dist

$(PROTOC_PYTHON)/done:
	python3 -m venv --clear $(PROTOC_PYTHON)
	$(PROTOC_PYTHON)/bin/python -m pip install --quiet --disable-pip-version-check \
		grpcio-tools==$(GRPCIO_TOOLS_VERSION) 'protobuf<7' 'setuptools<81'
	touch $@
