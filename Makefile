# Cambium. `make train` runs the main job, `make test` all tests; both set up what they need. `make help` lists the rest.

GO       := build/go
RUN      ?= runs/quickstart
CONFIG   ?= configs/quickstart.yaml
CORPUS   ?= runs/data/go
VERSION  := $(shell git describe --always --dirty --tags 2>/dev/null || echo unknown)
LDFLAGS  := -X main.version=$(VERSION)
# One set of flags for what is built and what is tested, or every package is compiled twice.
export GOFLAGS := $(strip $(GOFLAGS) -trimpath)
export CGO_ENABLED ?= $(shell command -v cc >/dev/null 2>&1 && echo 1 || echo 0)

.DEFAULT_GOAL := build
.PHONY: help train build mpi cuda cuda-mpi gpu-bench test test-cuda emulator test-race test-arm64 lint fmt bench clean

help: ## list the targets
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 14

train: build ## the main job: a GPT that grows twice while it learns Go's own source text (about 5 minutes on 2 cores)
	@GOROOT=$$($(GO) env GOROOT) bin/cambium prep --corpus go --output-dir $(CORPUS) --train-tokenizer 4096
	@bin/cambium train --config $(CONFIG) --run-dir $(RUN)

build: setup ## bin/cambium
	@$(GO) build -ldflags '$(LDFLAGS)' -o bin/cambium ./src/cmd/cambium

mpi: setup ## bin/cambium-mpi: the same program, whose ranks mpirun and srun start; with the MPI that MPICC= or the PATH gives
	@cc=$$(.ci/mpi) && CC=$$cc CGO_ENABLED=1 $(GO) build -tags mpi -ldflags '$(LDFLAGS)' -o bin/cambium-mpi ./src/cmd/cambium \
	&& echo "bin/cambium-mpi: built with $$cc"

cuda: setup ## bin/cambium-cuda: with the CUDA backend, its kernels for sm_80, sm_90a and sm_100 inside
	@env=$$(GO=$(GO) cuda/env.sh build/cuda) && eval "$$env" && cuda/compile.sh "$$CAMBIUM_CUDA_TOOLKIT" build/cuda src/backend/cuda/kernels \
	&& $(GO) build -tags cuda -ldflags '$(LDFLAGS)' -o bin/cambium-cuda ./src/cmd/cambium

cuda-mpi: cuda ## bin/cambium-cuda-mpi: both: ranks that mpirun and srun start, on GPUs; with the MPI that MPICC= or the PATH gives
	@cc=$$(.ci/mpi) && env=$$(GO=$(GO) cuda/env.sh build/cuda) && eval "$$env" && CC=$$cc CGO_ENABLED=1 $(GO) build -tags mpi,cuda -ldflags '$(LDFLAGS)' -o bin/cambium-cuda-mpi ./src/cmd/cambium \
	&& echo "bin/cambium-cuda-mpi: built with $$cc"

gpu-bench: setup ## bin/cuda-conformance, which bench/gpu/run.sh carries to a machine with a GPU
	@env=$$(GO=$(GO) cuda/env.sh build/cuda) && eval "$$env" && $(GO) test -c -tags cuda -o bin/cuda-conformance ./src/backend/cuda

KERNELS := $(wildcard cuda/*/*.cu)
emulator: ## build/cuda/emu: a libcuda.so.1 that runs the kernels on the processor, stand-ins for NCCL and cuBLASLt; fast, and with every access checked
	@cuda/emu/build.sh build/cuda/emu/fast fast $(KERNELS) && cuda/emu/build.sh build/cuda/emu/checked checked $(KERNELS)

test-cuda: setup ## everything of CUDA that needs no GPU: the emulator itself, the backend on it, with delayed streams and with checks (SHORT=-short: fewer sizes)
	@if ! command -v g++ >/dev/null; then echo 'test-cuda: skipped: no g++ (Debian package g++)'; exit 0; fi; \
	$(MAKE) --no-print-directory emulator && GO=$(GO) SHORT=$(SHORT) cuda/test.sh

.PHONY: setup
setup:
	@.ci/setup

test: setup ## all tests: every package, the race detector where goroutines run, the portable path as arm64
	@$(MAKE) --no-print-directory -j2 $(if $(filter output-sync,$(.FEATURES)),--output-sync) test-race test-arm64
	$(GO) test -timeout 15m ./...

RACE := ./src/backend/cpu ./src/comm/... ./src/data ./src/execute ./src/telemetry ./src/train
test-race: setup
	@if [ "$(CGO_ENABLED)" = 1 ]; then echo '$(GO) test -race -short $(RACE)'; $(GO) test -race -short -timeout 10m $(RACE); \
	else echo 'test-race: skipped: the race detector needs a C compiler'; fi

test-arm64: setup
	@if command -v qemu-aarch64 >/dev/null; then CGO_ENABLED=0 GOARCH=arm64 $(GO) test -short -timeout 10m -exec qemu-aarch64 ./src/backend/cpu; \
	else echo 'test-arm64: skipped: no qemu-aarch64 (Debian package qemu-user)'; CGO_ENABLED=0 GOARCH=arm64 $(GO) vet ./src/...; fi

lint: setup ## gofmt, go vet, staticcheck, clang-format where it is
	@out=$$($$($(GO) env GOROOT)/bin/gofmt -l src tests bench); if [ -n "$$out" ]; then echo "not gofmt-clean:"; echo "$$out"; exit 1; fi
	@$(GO) vet ./...
	@$(GO) tool -modfile=tools.mod staticcheck ./...
	@for cc in mpicc.openmpi mpicc.mpich; do if command -v $$cc >/dev/null; then \
	CC=$$cc CGO_ENABLED=1 $(GO) vet -tags mpi ./src/mpi ./src/comm/mpi ./src/launch ./src/cmd/cambium || exit 1; \
	CC=$$cc CGO_ENABLED=1 $(GO) tool -modfile=tools.mod staticcheck -tags mpi ./src/mpi ./src/comm/mpi ./src/launch || exit 1; fi; done

	@if command -v clang-format >/dev/null; then find cuda \( -name '*.c' -o -name '*.cc' -o -name '*.cu' -o -name '*.cuh' -o -name '*.h' \) | xargs clang-format --dry-run -Werror; fi

fmt: setup ## gofmt everything
	@$(GO) fmt ./...

clean: ## remove what was built; runs/ stays
	@rm -rf bin build
