# Short on purpose: every target is one command that a person could type.
TOOL  := go tool -modfile=.ci/tools.mod
FOR   ?= 5m
VERSION ?= dev

.PHONY: gen gen-js picture release fmt lint test race fuzz bench bench-engine check
gen: ## regenerate schemas/*.capnp.go (needs Debian's capnproto)
	go build -o bin/capnpc-go capnproto.org/go/capnp/v3/capnpc-go
	cd schemas && capnp compile -o ../bin/capnpc-go $(filter-out go.capnp,$(notdir $(wildcard schemas/*.capnp)))
gen-js: ## regenerate the JavaScript client's table of the schemas (needs Node.js too)
	cd docs/clients/js && capnp compile -ocapnp $(foreach f,node account auth channel codes group keys queue,../../../schemas/$(f).capnp) | node layout.mjs > schema.mjs
picture: ## draw docs/architecture.svg from what imports what
	go run ./internal/importmap > docs/architecture.svg.new && mv docs/architecture.svg.new docs/architecture.svg
release: ## the programs that people run, stripped: bin/release (VERSION=v1.2.3)
	go build -trimpath -ldflags "-s -w -X main.version=$(VERSION)" -o bin/release/ ./cmd/qpqd ./cmd/qpq ./cmd/qpqdemo
fmt: ## format
	$(TOOL) golangci-lint fmt
lint: ## lint
	$(TOOL) golangci-lint run
test: ## the tests that the README names
	go test -p 4 -timeout 20m ./...
race: ## the short suites under the race detector
	go test -race -short ./...
fuzz: ## every fuzz target, FOR each
	.ci/fuzz $(FOR)
bench: ## all benchmarks
	go test -run '^$$' -bench . ./...
bench-engine: ## the engine against raw hashicorp/raft
	go test -run '^$$' -bench Engine -benchtime 3s ./testcluster
check: ## what CI runs
	.ci/run
