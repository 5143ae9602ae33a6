#!/bin/sh
# Makes what a build with the tag cuda needs (the toolkit's headers, the driver's functions as jumps) below OUT and prints the
# environment for it:   eval "$(cuda/env.sh build/cuda)"; go build -tags cuda ./...
set -eu
here=$(cd "$(dirname "$0")" && pwd)
out=$1
case $out in /*) ;; *) out=$PWD/$out ;; esac
go=${GO:-go}
toolkit=$("$here/toolkit.sh" "$out")
bindings=$("$go" list -m -f '{{.Dir}}' gorgonia.org/cu)
if [ -z "$bindings" ]; then
    "$go" mod download gorgonia.org/cu >&2
    bindings=$("$go" list -m -f '{{.Dir}}' gorgonia.org/cu)
fi
"$here/driver/build.sh" "$out/driver" "$toolkit/include" "$bindings"/*.go "$here"/../src/backend/cuda/*.go
echo "export CAMBIUM_CUDA_TOOLKIT='$toolkit'"
echo "export CGO_ENABLED=1 CGO_CFLAGS='-I$out/driver/include -I$toolkit/include' CGO_LDFLAGS='-L$out/driver/lib'"
