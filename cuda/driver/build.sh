#!/bin/sh
# Makes what a program needs to be built against the CUDA driver and to start without it:
#   OUT/include/cuda.h   the toolkit's header, with the five functions that CUDA 13 changed pointed at the entry points that drivers
#                        still have, so that code written for CUDA 11 and 12 (gorgonia.org/cu) compiles
#   OUT/lib/libcuda.a    the driver's functions as jumps through dlsym: no libcuda.so.1 is needed at link time or start
# Usage: cuda/driver/build.sh OUT TOOLKIT_INCLUDE FILE.go...      the files whose cu... calls are wanted
set -eu
here=$(cd "$(dirname "$0")" && pwd)
out=$1 include=$2
shift 2
mkdir -p "$out/include" "$out/lib" "$out/objects"
cp "$here/compat.h" "$out/include/cuda.h"
cc=${CC:-cc}

# The names as the header's macros spell them: cuMemAlloc is cuMemAlloc_v2.
called=$(grep -ohw 'cu[A-Z][A-Za-z0-9_]*' "$@" | sort -u)
echo '#include <cuda.h>' | "$cc" -I"$out/include" -I"$include" -E -dM - >"$out/objects/macros"
declared=$(echo '#include <cuda.h>' | "$cc" -I"$out/include" -I"$include" -E - | grep -oE '\bcu[A-Z][A-Za-z0-9_]*' | sort -u)
names=$(for f in $called; do
    real=$(sed -n "s/^#define $f \(cu[A-Za-z0-9_]*\)\$/\1/p; s/^#define $f __CUDA_API_PT[SD]*Z\?(\(cu[A-Za-z0-9_]*\))\$/\1/p" "$out/objects/macros" | head -n 1)
    echo "${real:-$f}"
done | sort -u | grep -Fx "$declared" | grep -vx cuInit)

{
    echo '#define SYMBOLS(X) \'
    for n in $names; do echo "    X($n) \\"; done
    echo
} >"$out/objects/symbols.h"
{
    echo '.text'
    i=0
    for n in $names; do
        case $(uname -m) in
        x86_64) printf '.globl %s\n.type %s,@function\n%s: movl $%d, %%eax\n jmp cambiumCudaJump\n' "$n" "$n" "$n" "$i" ;;
        aarch64) printf '.globl %s\n.type %s,%%function\n%s: mov w16, #%d\n b cambiumCudaJump\n' "$n" "$n" "$n" "$i" ;;
        esac
        i=$((i + 1))
    done
    echo '.section .note.GNU-stack,"",%progbits'
} >"$out/objects/names.S"
for f in jump.S; do "$cc" -fPIC -c "$here/$f" -o "$out/objects/jump.o"; done
"$cc" -fPIC -c "$out/objects/names.S" -o "$out/objects/names.o"
"$cc" -O2 -Wall -Wextra -fPIC -I"$out/objects" -c "$here/resolve.c" -o "$out/objects/resolve.o"
rm -f "$out/lib/libcuda.a"
ar rcs "$out/lib/libcuda.a" "$out/objects/jump.o" "$out/objects/names.o" "$out/objects/resolve.o"
