// What the lanes of a warp do together: shuffles, votes, ldmatrix and mma.sync, with the fragment layouts of the PTX manual
// (sections "Matrix fragments for mma.m16n8k16" and "ldmatrix").
#include "runtime.h"

namespace emu {

void shuffle(void** lanes, unsigned mask) {
    for (unsigned i = 0; i < kWarp; i++) {
        if (!(mask >> i & 1)) continue;
        Shuffle* s = static_cast<Shuffle*>(lanes[i]);
        unsigned from = static_cast<unsigned>(s->from);
        if (from >= kWarp || !(mask >> from & 1)) from = i;  // undefined on the hardware: the lane's own value is as good
        s->out = static_cast<Shuffle*>(lanes[from])->in;
    }
}

void ballot(void** lanes, unsigned mask) {
    unsigned votes = 0;
    for (unsigned i = 0; i < kWarp; i++)
        if (mask >> i & 1) votes |= static_cast<Vote*>(lanes[i])->in << i;
    for (unsigned i = 0; i < kWarp; i++)
        if (mask >> i & 1) static_cast<Vote*>(lanes[i])->out = votes;
}

namespace {

float bf16(uint32_t pair, int half) { return __uint_as_float(half ? pair & 0xffff0000u : pair << 16); }
float f16(uint32_t pair, int half) {
    const uint16_t bits = static_cast<uint16_t>(half ? pair >> 16 : pair);
    _Float16 v;
    memcpy(&v, &bits, 2);
    return static_cast<float>(v);
}

// mma is D = A B + C for A [16,16] row-major, B [16,8] column-major, C and D [16,8] in fp32: lane l holds, with g = l/4 and t =
// 2 (l mod 4), A[g or g+8][t, t+1 or t+8, t+9], B[t, t+1 or t+8, t+9][g], C[g or g+8][t, t+1].
template <float (*Unpack)(uint32_t, int)>
void mma(void** lanes, unsigned mask) {
    if (mask != ~0u) fault(callSite(), "mma.sync by a part of a warp: lanes %08x", mask);
    float a[16][16], b[16][8], c[16][8];
    for (unsigned i = 0; i < kWarp; i++) {
        const Mma* m = static_cast<Mma*>(lanes[i]);
        const unsigned g = i / 4, t = i % 4 * 2;
        for (int h = 0; h < 2; h++) {
            for (int r = 0; r < 4; r++) a[g + r % 2 * 8][t + r / 2 * 8 + h] = Unpack(m->a[r], h);
            for (int r = 0; r < 2; r++) b[t + r * 8 + h][g] = Unpack(m->b[r], h), c[g + r * 8][t + h] = m->c[r * 2 + h];
        }
    }
    for (auto& row : c) {
        const float* x = a[&row - c];
        for (int k = 0; k < 16; k++)
            for (int j = 0; j < 8; j++) row[j] += x[k] * b[k][j];
    }
    for (unsigned i = 0; i < kWarp; i++) {
        const Mma* m = static_cast<Mma*>(lanes[i]);
        for (int e = 0; e < 4; e++) m->d[e] = c[i / 4 + e / 2 * 8][i % 4 * 2 + e % 2];
    }
}

// load gives lane l elements [l/4][2 (l mod 4), +1] of four 8x8 matrices of 16-bit elements, whose rows lanes 8k to 8k+7 point
// at; transposed gives [2 (l mod 4), +1][l/4].
void load(void** lanes, unsigned mask, bool transposed) {
    if (mask != ~0u) fault(callSite(), "ldmatrix by a part of a warp: lanes %08x", mask);
    for (unsigned i = 0; i < kWarp; i++) {
        const void* row = static_cast<MatrixLoad*>(lanes[i])->row;
        if (reinterpret_cast<uintptr_t>(row) % 16)
            fault(callSite(), "ldmatrix: the row of lane %u at %p is not aligned to 16 bytes", i, row);
        checkAccess(row, 16, false, callSite());
    }
    for (unsigned i = 0; i < kWarp; i++) {
        for (unsigned k = 0; k < 4; k++) {
            uint16_t pair[2];
            for (unsigned h = 0; h < 2; h++) {
                unsigned r = i / 4, c = i % 4 * 2 + h;
                if (transposed) std::swap(r, c);
                pair[h] = static_cast<const uint16_t*>(static_cast<MatrixLoad*>(lanes[k * 8 + r])->row)[c];
            }
            memcpy(&static_cast<MatrixLoad*>(lanes[i])->out[k], pair, 4);
        }
    }
}

}  // namespace

void mmaBF16(void** lanes, unsigned mask) { mma<bf16>(lanes, mask); }
void mmaF16(void** lanes, unsigned mask) { mma<f16>(lanes, mask); }
void loadMatrices(void** lanes, unsigned mask) { load(lanes, mask, false); }
void loadMatricesTransposed(void** lanes, unsigned mask) { load(lanes, mask, true); }

}  // namespace emu
