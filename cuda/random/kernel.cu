// Normal random numbers without a state: the bits of package rng, which has the formulas and their sources, on every device.
//
//	x[i, j] = element number first + i stride + j     elements 4b to 4b+3 are two Box-Muller pairs of block b of Philox4x32-10
//
// In fp64, with every product and sum rounded by itself, as rng has them: about 30 operations a number.
#include "../common/device.cuh"

using namespace cambium;

struct Normal {
    View x;
    unsigned long long key, counter, first, stride;  // counter is the upper half of Philox's; the lower one is the block
    double std;
};

__device__ __forceinline__ double times(double a, double b) { return __dmul_rn(a, b); }
__device__ __forceinline__ double plus(double a, double b) { return __dadd_rn(a, b); }

// philox makes 128 random bits of a 64-bit key and a 128-bit counter, in its place.
__device__ __forceinline__ void philox(unsigned long long key, unsigned (&c)[4]) {
    unsigned k0 = static_cast<unsigned>(key), k1 = static_cast<unsigned>(key >> 32);
#pragma unroll
    for (int i = 0; i < 10; i++) {
        const unsigned h0 = __umulhi(c[0], 0xD2511F53u), l0 = c[0] * 0xD2511F53u, h1 = __umulhi(c[2], 0xCD9E8D57u), l1 = c[2] * 0xCD9E8D57u;
        c[0] = h1 ^ c[1] ^ k0, c[1] = l1, c[2] = h0 ^ c[3] ^ k1, c[3] = l0;
        k0 += 0x9E3779B9u, k1 += 0xBB67AE85u;
    }
}

// logUniform is ln((a + 1/2) 2^-32).
__device__ __forceinline__ double logUniform(unsigned a) {
    const unsigned long long b = bitsOf(plus(a, 0.5));
    int e = static_cast<int>(b >> 52) - 1022 - 32;
    double m = doubleOf((b & ((1ull << 52) - 1)) | 0x3fe0000000000000ull);
    if (m < 0.70710678118654752440) {
        m = times(m, 2);
        e--;
    }
    const double z = plus(m, -1) / plus(m, 1), y = times(z, z);
    double p = 1.0 / 11;
    p = plus(times(p, y), 1.0 / 9);
    p = plus(times(p, y), 1.0 / 7);
    p = plus(times(p, y), 1.0 / 5);
    p = plus(times(p, y), 1.0 / 3);
    p = plus(times(p, y), 1);
    return plus(times(e, 0.693147180559945309417232121458176568), times(times(2, z), p));
}

// turn is sin and cos of 2 pi w 2^-32.
__device__ __forceinline__ void turn(unsigned w, double& sine, double& cosine) {
    const unsigned q = (w + (1u << 29)) >> 30;
    const double x = times(static_cast<int>(w - (q << 30)), 2 * 3.14159265358979323846264338327950288 / 4294967296.0), y = times(x, x);
    double s = -1.0 / 39916800, c = 1.0 / 479001600;
    s = plus(times(s, y), 1.0 / 362880);
    s = plus(times(s, y), -1.0 / 5040);
    s = plus(times(s, y), 1.0 / 120);
    s = plus(times(s, y), -1.0 / 6);
    s = times(x, plus(times(s, y), 1));
    c = plus(times(c, y), -1.0 / 3628800);
    c = plus(times(c, y), 1.0 / 40320);
    c = plus(times(c, y), -1.0 / 720);
    c = plus(times(c, y), 1.0 / 24);
    c = plus(times(c, y), -1.0 / 2);
    c = plus(times(c, y), 1);
    sine = q & 1 ? c : s;
    cosine = q & 1 ? s : c;
    if (q & 2) sine = -sine;
    if ((q + 1) & 2) cosine = -cosine;
}

__device__ __forceinline__ void boxMuller(unsigned a, unsigned w, double std, float& first, float& second) {
    const double r = times(sqrt(times(-2, logUniform(a))), std);
    double s, c;
    turn(w, s, c);
    first = static_cast<float>(times(r, c));
    second = static_cast<float>(times(r, s));
}

template <class T>
__device__ void fillNormal(const Normal& a) {
    for (int i = blockIdx.y; i < a.x.rows; i += gridDim.y) {
        T* x = row<T>(a.x, i);
        const unsigned long long begin = a.first + i * a.stride, end = begin + a.x.cols;
        for
            STRIDED(n, static_cast<long long>((end + 3) / 4 - begin / 4)) {
                const unsigned long long block = begin / 4 + n;
                unsigned c[4] = {static_cast<unsigned>(block), static_cast<unsigned>(block >> 32), static_cast<unsigned>(a.counter),
                                 static_cast<unsigned>(a.counter >> 32)};
                philox(a.key, c);
                float v[4];
                boxMuller(c[0], c[1], a.std, v[0], v[1]);
                boxMuller(c[2], c[3], a.std, v[2], v[3]);
#pragma unroll
                for (int k = 0; k < 4; k++)
                    if (block * 4 + k >= begin && block * 4 + k < end) x[block * 4 + k - begin] = round<T>(v[k]);
            }
    }
}

#define NORMAL(suffix, T)                                                           \
    extern "C" __global__ void fill_normal_##suffix(Normal a) { fillNormal<T>(a); } \
    KERNEL(fill_normal_##suffix);
FOR_TYPES(NORMAL)
