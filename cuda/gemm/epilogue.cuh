// What a GEMM takes, and what its ends do with an element z of the product:
//
//	z = alpha sum_k op(A)[m,k] op(B)[k,n] + bias[n]     c [+]= z     or c = gelu(z), pre = z     or c = z gelu'(pre)
#pragma once

#include "../common/activation.cuh"

namespace cambium {

enum { kNone, kGelu, kGeluGradient };

struct Gemm {
    View c, a, b, pre;  // pre: out with kGelu, in with kGeluGradient; may be absent with kGelu
    const void* bias;   // may be null
    int m, n, k, act, accumulate;
    int transA, transB;
    float alpha;
};

template <class T, class C>
__device__ __forceinline__ void finish(const Gemm& g, int m, int n, float z) {
    z *= g.alpha;
    if (g.bias) z += load(static_cast<const T*>(g.bias)[n]);
    if (g.act == kGelu) {
        // Of z as it is stored, so that a GELU that is computed again from pre gives the same bits.
        const T stored = round<T>(z);
        if (g.pre.data) row<T>(g.pre, m)[n] = stored;
        z = gelu(load(stored));
    } else if (g.act == kGeluGradient) {
        z *= geluGradient(load(row<T>(g.pre, m)[n]));
    }
    C* c = row<C>(g.c, m) + n;
    *c = round<C>(g.accumulate ? load(*c) + z : z);
}

}  // namespace cambium
