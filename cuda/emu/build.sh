#!/bin/sh
# Builds the emulated driver with kernels in it, OUT/libcuda.so.1, and beside it the stand-ins for NCCL, OUT/libnccl.so.2, and cuBLASLt,
# OUT/libcublasLt.so.13.
#   cuda/emu/build.sh OUT fast|checked FILE.cu...
# fast finds barriers and collectives that are used wrongly; checked also looks at every load and store (races, bounds,
# alignment), some ten to fifty times slower. Needs g++ with C++20.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
out=$1 kind=$2
shift 2
case $out in /*) ;; *) out=$PWD/$out ;; esac
work=$out/$kind.objects
mkdir -p "$work"
cxx=${CXX:-g++}
# Thread-local storage by descriptor, or a library that is loaded late cannot have as much of it as shared memory needs.
tls=
[ "$(uname -m)" = x86_64 ] && tls=-mtls-dialect=gnu2
# Products are rounded before they are added to, as __dmul_rn and its like promise.
# The library runs where it is built: conversions of fp16 by the processor, where it has them.
half=
grep -qw f16c /proc/cpuinfo 2>/dev/null && half=-mf16c
flags="-std=c++20 -O2 -g -ffp-contract=off -Wall -Wextra -fPIC -fvisibility=hidden -Wno-psabi $tls $half ${CAMBIUM_EMU_CXXFLAGS:-}"
kernels=
if [ "$kind" = checked ]; then
    flags="$flags -DEMU_CHECKED"
    kernels="-fsanitize=thread -fsanitize=bounds,alignment -fno-sanitize-recover=bounds,alignment"
fi
objects=
pids=
compile() { # SOURCE OBJECT FLAGS...: into the folder of objects, when it is older than anything that it may include
    source=$1 object=$2
    shift 2
    objects="$objects $object"
    [ -e "$work/$object" ] && [ -z "$(find "$here" "$here/../common" "$(dirname "$source")" -newer "$work/$object" -name '*.[hc]*' | head -n 1)" ] && return
    "$cxx" $flags "$@" -c "$source" -o "$work/$object" &
    pids="$pids $!"
}
for f in "$here"/nccl/*.cc; do compile "$f" "nccl-$(basename "$f" .cc).o"; done
nccl=$objects objects=
for f in "$here"/cublaslt/*.cc; do compile "$f" "cublaslt-$(basename "$f" .cc).o"; done
cublaslt=$objects objects=
for f in "$here"/runtime/*.cc; do compile "$f" "$(basename "$f" .cc).o"; done
for f in "$@"; do compile "$f" "kernel-$(echo "$f" | tr / -).o" $kernels -Wno-unknown-pragmas -Wno-unused-parameter -x c++; done
for p in $pids; do wait "$p"; done
cd "$work"
"$cxx" $flags -shared -Wl,-soname,libcuda.so.1 $objects -o "$out/libcuda.so.1" -lpthread -ldl
"$cxx" $flags -shared -Wl,-soname,libnccl.so.2 $nccl -o "$out/libnccl.so.2" -lpthread -ldl -lrt
"$cxx" $flags -shared -Wl,-soname,libcublasLt.so.13 $cublaslt -o "$out/libcublasLt.so.13" -lpthread -ldl
