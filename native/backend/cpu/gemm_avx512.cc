// GEMM kernels for AVX-512 (f32) and AVX512-BF16 (vdpbf16ps).
//
// Register tile 14 x 32: 28 accumulators, two vectors of B, one broadcast of A = 31 of 32 registers. Per k: 28 fused
// multiply-adds against 16 loads, so the two multiply ports are the limit and not the two load ports.
#include "native/backend/cpu/gemm_kernels.h"

#if defined(__x86_64__)

#if defined(__GNUC__) && !defined(__clang__)
// GCC 12 reports its own _mm512_undefined_* as uninitialized (GCC bug 105593).
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

#include <immintrin.h>

// Only code below is compiled for the target; headers above are not, so no inline function of theirs can leak into
// the rest of the program with instructions it may lack.
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,avx2,fma"))), \
                             apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,avx2,fma")
#endif

namespace rl::cpu {
namespace {

#include "native/backend/cpu/gemm_pack_avx512.inl"

constexpr int kMr = 14, kNr = 32;

struct SingleOp {  // unit: one f32
  static constexpr int kStep = 1;
  static __m512 run(__m512 sum, __m512i a, __m512i b) {
    return _mm512_fmadd_ps(_mm512_castsi512_ps(a), _mm512_castsi512_ps(b), sum);
  }
};
struct PairOp {  // unit: two bf16
  static constexpr int kStep = 2;
  static __m512 run(__m512 sum, __m512i a, __m512i b) { return _mm512_dpbf16_ps(sum, (__m512bh)a, (__m512bh)b); }
};

inline __m512i broadcast(const char* p) {
  int32_t unit;
  __builtin_memcpy(&unit, p, 4);
  return _mm512_set1_epi32(unit);
}

// kRows is a constant so that all accumulators are registers. kWhole: all 32 columns are there.
template <class Op, int kRows, bool kWhole>
void multiply_rows(int n, int64_t units, const char* a, int64_t a_row_stride, int64_t a_k_stride, const char* b,
                   int64_t b_k_stride, float* c, int64_t c_row_stride, const float* init, bool accumulate) {
  const __mmask16 mask0 = kWhole ? 0xFFFF : first16(n), mask1 = kWhole ? 0xFFFF : first16(n - 16);
  __m512 sum0[kRows], sum1[kRows];
  const __m512 start0 = init ? _mm512_maskz_loadu_ps(mask0, init) : _mm512_setzero_ps();
  const __m512 start1 = init ? _mm512_maskz_loadu_ps(mask1, init + 16) : _mm512_setzero_ps();
#pragma GCC unroll 16
  for (int i = 0; i < kRows; ++i) sum0[i] = start0, sum1[i] = start1;
  // Rows of C are needed at the end: fetch them while multiplying.
#pragma GCC unroll 16
  for (int i = 0; i < kRows; ++i) {
    _mm_prefetch(reinterpret_cast<const char*>(c + i * c_row_stride), _MM_HINT_T0);
    _mm_prefetch(reinterpret_cast<const char*>(c + i * c_row_stride + n - 1), _MM_HINT_T0);
  }
  auto step = [&](auto&& left) __attribute__((always_inline)) {
    const __m512i b0 = kWhole ? _mm512_loadu_si512(b) : _mm512_maskz_loadu_epi32(mask0, b);
    const __m512i b1 = kWhole ? _mm512_loadu_si512(b + 64) : _mm512_maskz_loadu_epi32(mask1, b + 64);
#pragma GCC unroll 16
    for (int i = 0; i < kRows; ++i) {
      const __m512i x = broadcast(left(i));
      sum0[i] = Op::run(sum0[i], x, b0);
      sum1[i] = Op::run(sum1[i], x, b1);
    }
    b += b_k_stride * 4;
  };
  const int64_t rs = a_row_stride * 4, ks = a_k_stride * 4;
  if (a_row_stride == 1) {
    for (int64_t p = 0; p < units; ++p, a += ks) {
      _mm_prefetch(b + 1024, _MM_HINT_T0);
      _mm_prefetch(b + 1024 + 64, _MM_HINT_T0);
      step([&](int i) __attribute__((always_inline)) { return a + i * 4; });
    }
  } else {
    // One pointer for three rows (p, p + rs, p + 2 rs are addressing modes): 14 pointers would not fit the registers.
    constexpr int kGroups = (kRows + 2) / 3;
    const char* group[kGroups];
#pragma GCC unroll 16
    for (int i = 0; i < kGroups; ++i) group[i] = a + 3 * i * rs;
    for (int64_t p = 0; p < units; ++p) {
      step([&](int i) __attribute__((always_inline)) { return group[i / 3] + i % 3 * rs; });
#pragma GCC unroll 16
      for (int i = 0; i < kGroups; ++i) group[i] += ks;
    }
  }
#pragma GCC unroll 16
  for (int i = 0; i < kRows; ++i) {
    float* row = c + i * c_row_stride;
    if constexpr (kWhole) {
      _mm512_storeu_ps(row, accumulate ? _mm512_add_ps(_mm512_loadu_ps(row), sum0[i]) : sum0[i]);
      _mm512_storeu_ps(row + 16, accumulate ? _mm512_add_ps(_mm512_loadu_ps(row + 16), sum1[i]) : sum1[i]);
    } else {
      _mm512_mask_storeu_ps(row, mask0,
                            accumulate ? _mm512_add_ps(_mm512_maskz_loadu_ps(mask0, row), sum0[i]) : sum0[i]);
      _mm512_mask_storeu_ps(row + 16, mask1,
                            accumulate ? _mm512_add_ps(_mm512_maskz_loadu_ps(mask1, row + 16), sum1[i]) : sum1[i]);
    }
  }
}

using MultiplyRows = void (*)(int, int64_t, const char*, int64_t, int64_t, const char*, int64_t, float*, int64_t,
                              const float*, bool);

template <class Op, bool kWhole>
constexpr MultiplyRows kByRows[kMr] = {
    multiply_rows<Op, 1, kWhole>,  multiply_rows<Op, 2, kWhole>,  multiply_rows<Op, 3, kWhole>,
    multiply_rows<Op, 4, kWhole>,  multiply_rows<Op, 5, kWhole>,  multiply_rows<Op, 6, kWhole>,
    multiply_rows<Op, 7, kWhole>,  multiply_rows<Op, 8, kWhole>,  multiply_rows<Op, 9, kWhole>,
    multiply_rows<Op, 10, kWhole>, multiply_rows<Op, 11, kWhole>, multiply_rows<Op, 12, kWhole>,
    multiply_rows<Op, 13, kWhole>, multiply_rows<Op, 14, kWhole>};

template <class Op>
void multiply(int m, int n, int64_t k, const void* a, int64_t a_row_stride, int64_t a_k_stride, const void* b,
              int64_t b_k_stride, float* c, int64_t c_row_stride, const float* init, bool accumulate) {
  const int64_t units = (k + Op::kStep - 1) / Op::kStep;
  (n == kNr ? kByRows<Op, true> : kByRows<Op, false>)[m - 1](n, units, static_cast<const char*>(a), a_row_stride,
                                                             a_k_stride, static_cast<const char*>(b), b_k_stride, c,
                                                             c_row_stride, init, accumulate);
}

// Lane i of the result is the sum of v[i]: a tree that merges two vectors per step, half the shuffles of 16 reductions.
__attribute__((always_inline)) inline __m512 sum_each(__m512* v) {
  for (int i = 0; i < 8; ++i)  // v[i] and v[i + 8] in the halves
    v[i] = _mm512_add_ps(_mm512_shuffle_f32x4(v[i], v[i + 8], 0x44), _mm512_shuffle_f32x4(v[i], v[i + 8], 0xEE));
  for (int i = 0; i < 4; ++i)  // quarters: i, i + 4, i + 8, i + 12
    v[i] = _mm512_add_ps(_mm512_shuffle_f32x4(v[i], v[i + 4], 0x88), _mm512_shuffle_f32x4(v[i], v[i + 4], 0xDD));
  for (int i = 0; i < 2; ++i) v[i] = _mm512_add_ps(_mm512_unpacklo_ps(v[i], v[i + 2]), _mm512_unpackhi_ps(v[i], v[i + 2]));
  const __m512 sums = _mm512_add_ps(_mm512_unpacklo_ps(v[0], v[1]), _mm512_unpackhi_ps(v[0], v[1]));
  return _mm512_shuffle_f32x4(sums, sums, 0xD8);  // the quarters came as 0, 8, 4, 12
}

// Sums along k in vectors: kRows x 2 vectors of the stream at once hide the latency of the adds.
template <int kRows, bool kHalf>
void dot_rows(int64_t k, const float* few, int64_t few_stride, const PanelSource& stream, int64_t begin, int64_t end,
              float* out, int64_t out_r, int64_t out_j) {
  constexpr int kVectors = kRows <= 2 ? 8 : kRows <= 4 ? 4 : 2;
  for (int64_t j = begin; j < end; j += kVectors) {
    const int count = static_cast<int>(end - j < kVectors ? end - j : kVectors);
    __m512 sum[kRows][kVectors];
    int64_t at[kVectors];
    for (int v = 0; v < kVectors; ++v) {
      at[v] = (j + (v < count ? v : 0)) * stream.stride;
      for (int r = 0; r < kRows; ++r) sum[r][v] = _mm512_setzero_ps();
    }
    auto step = [&](int64_t p, bool whole) __attribute__((always_inline)) {
      const __mmask16 mask = whole ? 0xFFFF : first16(k - p);
      __m512 x[kRows];
#pragma GCC unroll 8
      for (int r = 0; r < kRows; ++r) x[r] = _mm512_maskz_loadu_ps(mask, few + r * few_stride + p);
#pragma GCC unroll 8
      for (int v = 0; v < kVectors; ++v) {
        const int64_t left = whole ? 16 : k - p;
        const __m512 y = kHalf ? _mm512_castsi512_ps(_mm512_slli_epi32(load_half(stream.data, at[v] + p, left), 16))
                               : _mm512_maskz_loadu_ps(mask, static_cast<const float*>(stream.data) + at[v] + p);
#pragma GCC unroll 8
        for (int r = 0; r < kRows; ++r) sum[r][v] = _mm512_fmadd_ps(x[r], y, sum[r][v]);
      }
    };
    int64_t p = 0;
    for (; p + 16 <= k; p += 16) step(p, true);
    if (p < k) step(p, false);
    __m512 each[16];
#pragma GCC unroll 16
    for (int i = 0; i < 16; ++i) each[i] = i < kRows * kVectors ? sum[i / kVectors % kRows][i % kVectors] : _mm512_setzero_ps();
    alignas(64) float total[16];
    _mm512_store_ps(total, sum_each(each));
    for (int r = 0; r < kRows; ++r)
      for (int v = 0; v < count; ++v) out[r * out_r + (j + v) * out_j] = total[r * kVectors + v];
  }
}

template <int kRows>
void dot_typed(int64_t k, const float* few, int64_t few_stride, const PanelSource& stream, int64_t begin, int64_t end,
               float* out, int64_t out_r, int64_t out_j) {
  auto run = stream.type == ElementType::bf16 ? dot_rows<kRows, true> : dot_rows<kRows, false>;
  run(k, few, few_stride, stream, begin, end, out, out_r, out_j);
}

void dot_few(int rows, int64_t k, const float* few, int64_t few_stride, const PanelSource& stream, int64_t begin,
             int64_t end, float* out, int64_t out_r, int64_t out_j) {
  static constexpr decltype(&dot_typed<1>) kRun[kFewRows] = {dot_typed<1>, dot_typed<2>, dot_typed<3>, dot_typed<4>,
                                                             dot_typed<5>, dot_typed<6>, dot_typed<7>, dot_typed<8>};
  kRun[rows - 1](k, few, few_stride, stream, begin, end, out, out_r, out_j);
}

// kc 384: one B panel of 48 KiB is about the L1 (the best of 192, 256, 320, 384). mc 24 tiles: an A block of 504 KiB in L2,
// read once per B panel.
const TileKernel kSingle{kMr, kNr, 1, 4, true, 384, 24 * kMr, pack_rows_of_units<kMr, false>,
                         pack_rows_of_units<kNr, false>, multiply<SingleOp>};
const TileKernel kPair{kMr, kNr, 2, 2, false, 768, 24 * kMr, pack_rows_of_units<kMr, true>,
                       pack_rows_of_units<kNr, true>, multiply<PairOp>};
const GemmKernels kPlain{kSingle, kSingle, dot_few};
const GemmKernels kWithBf16{kSingle, kPair, dot_few};

}  // namespace

const GemmKernels& gemm_kernels_avx512() { return kPlain; }
const GemmKernels& gemm_kernels_avx512_bf16() { return kWithBf16; }

}  // namespace rl::cpu

#include "native/backend/cpu/target_end.inl"

#endif  // __x86_64__
