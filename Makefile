# The two commands that matter are `make demo` and `make test`. Both build what is missing and need root, because
# the sandbox makes network namespaces. Everything downloaded or built is pinned; engines are cached per version
# in $ISTHMUS_CACHE (default ~/.cache/isthmus).

SHELL       := /bin/bash
.DELETE_ON_ERROR:
export CGO_ENABLED = 0
# One set of flags for programs and tests, so that every package is compiled once.
export GOFLAGS := $(strip $(shell go env GOFLAGS) -trimpath)
export ISTHMUS_CACHE ?= $(HOME)/.cache/isthmus

export VERSION ?= 0.1.0
STAGE       := build/stage
DEBIAN      := nftables iptables iproute2 util-linux curl openssl ca-certificates procps

.PHONY: help deps build engines demo test test-unit test-race test-generated test-sandbox test-istio test-e2e test-scenarios refresh bench vet generate tools clean down

help: ## say what there is
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

deps: ## install the Debian packages that the sandbox needs (needs root)
	@build/deps $(DEBIAN)

build: ## bin/tctl, bin/server, bin/edge, bin/ratelimit, bin/sandbox
	@$(STAGE) product build/product "$(VERSION)"

engines: build ## Kubernetes, Istio, etcd, CoreDNS and Envoy, built once per version
	@$(STAGE) engines bin/sandbox engines build

demo: ## two clusters with Istio, a server, an edge in each, and the guide walked through; KEEP=1 leaves it running
	@build/root demo
	@$(MAKE) --no-print-directory deps build engines
	@build/demo $(if $(KEEP),--keep)

test: ## everything that proves the project
	@build/root test
	@$(MAKE) --no-print-directory deps
	@$(STAGE) fetch build/fetch
	@$(MAKE) --no-print-directory build engines
	@$(MAKE) --no-print-directory test-generated
	@$(MAKE) --no-print-directory test-unit
	@$(MAKE) --no-print-directory test-race
	@$(MAKE) --no-print-directory test-sandbox
	@$(MAKE) --no-print-directory test-istio
	@$(MAKE) --no-print-directory test-e2e
	@$(MAKE) --no-print-directory test-scenarios

test-unit: ## everything that needs no cluster
	@$(STAGE) vet build/vet
	@$(STAGE) unit go test -timeout 20m ./...

test-race: ## the packages with goroutines in them, under the race detector
	@CGO_ENABLED=1 $(STAGE) race go test -race ./internal/store/... ./internal/fleet/... ./internal/pipeline ./internal/ratelimit ./internal/server

test-generated: tools ## the generated files are what the protos say
	@$(STAGE) generated build/check-generated

test-sandbox: build engines ## the sandbox by itself
	@$(STAGE) sandbox bash -c 'cd sandbox && go test -count=1 ./...'

test-istio: build engines ## Istio's own code and a real Envoy take every golden
	@$(STAGE) istio build/istio

test-e2e: build engines ## the guide and its failures on two real clusters
	@$(STAGE) e2e build/e2e

test-scenarios: build engines ## real requests of test/scenarios on three real clusters; KEEP=1 leaves them running
	@$(STAGE) scenarios build/scenarios $(if $(KEEP),--keep)

refresh: ## the clusters that test-scenarios KEEP=1 left running get the product as it is now
	@build/refresh

bench: ## figures beside their budgets
	@build/bench

vet: ## formatting and go vet
	@build/vet

tools: ## the generators, pinned in tools/go.mod
	@mkdir -p bin/tools
	@$(STAGE) tools bash -c 'cd tools && go build -o ../bin/tools/ github.com/bufbuild/buf/cmd/buf google.golang.org/protobuf/cmd/protoc-gen-go connectrpc.com/connect/cmd/protoc-gen-connect-go'

generate: tools ## make the generated files again
	@build/generate

down: ## end a sandbox that was left running
	@bin/sandbox down

clean: ## remove what was built here (not the cached engines)
	@rm -rf bin dist
