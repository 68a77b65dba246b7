# lmqgate. "make" alone lists the targets.

.DEFAULT_GOAL := help
SHELL := /bin/sh

GOLANGCI_VERSION := v2.15.0
BUF_VERSION      := v1.75.0
GRPCIO_TOOLS_VERSION := 1.76.0
ROCKETMQ_VERSIONS := 5.4.0 5.1.4

TOOLS    := $(CURDIR)/.cache/bin
GOLANGCI := $(TOOLS)/golangci-lint-$(GOLANGCI_VERSION)
BUF      := $(TOOLS)/buf-$(BUF_VERSION)
PROTOC_PYTHON := $(CURDIR)/.cache/protoc-python-$(GRPCIO_TOOLS_VERSION)

# Empty outside a git checkout; then the binaries say what Go recorded.
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null)
COMMIT  := $(shell git rev-parse --short=12 HEAD 2>/dev/null)
LDFLAGS := $(if $(VERSION),-X main.buildVersion=$(VERSION) )$(if $(COMMIT),-X main.buildCommit=$(COMMIT))

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
	set -e; go build -ldflags '$(LDFLAGS)' -o bin/lmqgate ./cmd/lmqgate; \
	for p in $(PLUGINS); do go build -ldflags '$(LDFLAGS)' -o bin/plugins/$$p ./plugins/$$p; done; \
	chmod go-w bin/lmqgate bin/plugins/*

.PHONY: run
run: build ## Build, and serve conf/standalone.yaml on loopback
	@exec bin/lmqgate serve --config conf/standalone.yaml

.PHONY: test
test: test-unit test-authors test-e2e ## Run every test, also on RocketMQ; fetches what it needs

.PHONY: test-unit
test-unit: ## Run the tests that need nothing but Go, with the race detector
	LMQGATE_ROCKETMQ= LMQGATE_REQUIRE_ROCKETMQ= go test -race -timeout 5m $$(go list ./... | grep -v '/test/')

.PHONY: test-authors
test-authors: test-packages ## Test what authors of plugins are given: projects, tutorial, Python, examples
	go test -count=1 -timeout 15m ./test/authors

.PHONY: test-e2e
test-e2e: test-packages ## Run the whole-system tests, on each RocketMQ version
	@set -e; for v in $(ROCKETMQ_VERSIONS); do \
		echo "RocketMQ $$v:"; \
		LMQGATE_ROCKETMQ=$$v go test -count=1 -p 1 -timeout 30m $$(go list ./test/... | grep -v /test/authors$$) $(filter-out ./test/%,$(ROCKETMQ_PACKAGES)); \
	done

FUZZTIME ?= 30s

.PHONY: fuzz
fuzz: ## Run each fuzz target for FUZZTIME (30s); unit tests run their seeds
	@set -e; grep -rE --include='*_test.go' --exclude-dir=examples '^func Fuzz' . | sed -E 's|^\./(.*)/[^/]*:func (Fuzz[A-Za-z0-9_]*).*|\1 \2|' | while read -r dir target; do \
		echo "$$target in $$dir"; go test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) "./$$dir"; \
	done

.PHONY: conformance
conformance: ## Write docs/conformance.md from the tests and docs/conformance
	go run ./docs/conformance

# command:package, for Debian and its relatives.
TEST_PACKAGES := java:default-jre-headless mvn:maven mosquitto_pub:mosquitto-clients python3:python3

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
lint: $(GOLANGCI) $(BUF) ## Run golangci-lint, buf lint and buf breaking, at pinned versions
	$(GOLANGCI) run ./...
	cd plugins/proto && $(BUF) lint
	plugins/proto/check-breaking.sh $(BUF)

.PHONY: proto
proto: $(BUF) $(PROTOC_PYTHON)/done ## Generate Go and Python from plugins/proto
	cd plugins/proto && $(BUF) generate
	cd plugins/proto && $(PROTOC_PYTHON)/bin/python -m grpc_tools.protoc -I . \
		--python_out=../python --pyi_out=../python lmqgate/plugin/v1/*.proto

.PHONY: proto-freeze
proto-freeze: $(BUF) ## Freeze the contract as it is, at a release; see plugins/proto/COMPATIBILITY.md
	cd plugins/proto && $(BUF) build --exclude-source-info -o frozen/v1.binpb

.PHONY: bench
bench: build test-packages ## Measure throughput and latency
	go run ./test/bench -bin bin -rocketmq $(firstword $(ROCKETMQ_VERSIONS))

.PHONY: rocketmq-up
rocketmq-up: test-packages ## Start a RocketMQ on free loopback ports; says where it is
	@go run ./test/rocketmq up

.PHONY: rocketmq-down
rocketmq-down: ## Stop the RocketMQ of rocketmq-up
	@go run ./test/rocketmq down

.PHONY: clean
clean: ## Remove what the other targets built (not data, not downloads)
	rm -rf bin

$(GOLANGCI):
	GOBIN=$(TOOLS) go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_VERSION)
	mv $(TOOLS)/golangci-lint $@

$(BUF):
	GOBIN=$(TOOLS) go install github.com/bufbuild/buf/cmd/buf@$(BUF_VERSION)
	mv $(TOOLS)/buf $@

$(PROTOC_PYTHON)/done:
	python3 -m venv --clear $(PROTOC_PYTHON)
	$(PROTOC_PYTHON)/bin/python -m pip install --quiet --disable-pip-version-check \
		grpcio-tools==$(GRPCIO_TOOLS_VERSION) 'protobuf<7' 'setuptools<81'
	touch $@
