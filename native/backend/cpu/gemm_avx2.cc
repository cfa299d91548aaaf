// GEMM kernels for AVX2 and FMA.
//
// Register tile 6 x 16: 12 accumulators, two vectors of B, one broadcast of A = 15 of 16 registers.
#include "native/backend/cpu/gemm_kernels.h"

#if defined(__x86_64__)

#include <immintrin.h>

#include "native/backend/cpu/target_avx2.inl"

namespace rl::cpu {
namespace {

constexpr int kMr = 6, kNr = 16;

// Lanes below `count` have the sign bit, which is what masked loads and stores look at.
inline __m256i first8(int64_t count) {
  const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(count > 8 ? 8 : count < 0 ? 0 : count)), lane);
}

inline float widen(uint16_t bits) {
  const uint32_t wide = static_cast<uint32_t>(bits) << 16;
  float out;
  __builtin_memcpy(&out, &wide, 4);
  return out;
}
inline float round_single(float value) {
  uint32_t bits;
  __builtin_memcpy(&bits, &value, 4);
  if ((bits & 0x7FFFFFFFu) > 0x7F800000u) return widen(static_cast<uint16_t>((bits >> 16) | 0x40u));
  return widen(static_cast<uint16_t>((bits + 0x7FFFu + ((bits >> 16) & 1u)) >> 16));
}

// kRound is a constant so that the plain cases stay plain copies.
template <int kWidth, class T, bool kRound>
void pack_typed(float* out, const T* data, bool k_contiguous, int64_t stride, int w_count, int64_t k_count) {
  auto value = [](T x) {
    if constexpr (sizeof(T) == 2) return widen(x);
    else return kRound ? round_single(x) : x;
  };
  if (!k_contiguous) {
    for (int64_t k = 0; k < k_count; ++k, data += stride, out += kWidth) {
      for (int w = 0; w < w_count; ++w) out[w] = value(data[w]);
      for (int w = w_count; w < kWidth; ++w) out[w] = 0.0f;
    }
    return;
  }
  // Eight k at a time: whole cache lines are written before the next vector is read far away.
  for (int64_t k0 = 0; k0 < k_count; k0 += 8) {
    const int64_t n = k_count - k0 < 8 ? k_count - k0 : 8;
    for (int w = 0; w < kWidth; ++w)
      for (int64_t k = k0; k < k0 + n; ++k) out[k * kWidth + w] = w < w_count ? value(data[w * stride + k]) : 0.0f;
  }
}

template <int kWidth>
void pack(void* panel, const PanelSource& source, int64_t w0, int w_count, int64_t k0, int64_t k_count,
          bool round_bf16) {
  float* out = static_cast<float*>(panel);
  const int64_t at = source.k_contiguous ? w0 * source.stride + k0 : k0 * source.stride + w0;
  if (source.type == ElementType::bf16) {
    pack_typed<kWidth, uint16_t, false>(out, static_cast<const uint16_t*>(source.data) + at, source.k_contiguous,
                                        source.stride, w_count, k_count);
    return;
  }
  auto run = round_bf16 ? pack_typed<kWidth, float, true> : pack_typed<kWidth, float, false>;
  run(out, static_cast<const float*>(source.data) + at, source.k_contiguous, source.stride, w_count, k_count);
}

template <int kRows, bool kWhole>
void multiply_rows(int n, int64_t k, const float* a, int64_t a_row_stride, int64_t a_k_stride, const float* b,
                   int64_t b_k_stride, float* c, int64_t c_row_stride, const float* init, bool accumulate) {
  const __m256i mask0 = first8(n), mask1 = first8(n - 8);
  __m256 sum0[kRows], sum1[kRows];
  const __m256 start0 = init ? _mm256_maskload_ps(init, mask0) : _mm256_setzero_ps();
  const __m256 start1 = init ? _mm256_maskload_ps(init + 8, mask1) : _mm256_setzero_ps();
#pragma GCC unroll 8
  for (int i = 0; i < kRows; ++i) sum0[i] = start0, sum1[i] = start1;
  for (int64_t p = 0; p < k; ++p, a += a_k_stride, b += b_k_stride) {
    const __m256 b0 = kWhole ? _mm256_loadu_ps(b) : _mm256_maskload_ps(b, mask0);
    const __m256 b1 = kWhole ? _mm256_loadu_ps(b + 8) : _mm256_maskload_ps(b + 8, mask1);
#pragma GCC unroll 8
    for (int i = 0; i < kRows; ++i) {
      const __m256 x = _mm256_broadcast_ss(a + i * a_row_stride);
      sum0[i] = _mm256_fmadd_ps(x, b0, sum0[i]);
      sum1[i] = _mm256_fmadd_ps(x, b1, sum1[i]);
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < kRows; ++i) {
    float* row = c + i * c_row_stride;
    if (accumulate) {
      sum0[i] = _mm256_add_ps(_mm256_maskload_ps(row, mask0), sum0[i]);
      sum1[i] = _mm256_add_ps(_mm256_maskload_ps(row + 8, mask1), sum1[i]);
    }
    _mm256_maskstore_ps(row, mask0, sum0[i]);
    _mm256_maskstore_ps(row + 8, mask1, sum1[i]);
  }
}

template <bool kWhole>
constexpr decltype(&multiply_rows<1, true>) kByRows[kMr] = {multiply_rows<1, kWhole>, multiply_rows<2, kWhole>,
                                                            multiply_rows<3, kWhole>, multiply_rows<4, kWhole>,
                                                            multiply_rows<5, kWhole>, multiply_rows<6, kWhole>};

void multiply(int m, int n, int64_t k, const void* a, int64_t a_row_stride, int64_t a_k_stride, const void* b,
              int64_t b_k_stride, float* c, int64_t c_row_stride, const float* init, bool accumulate) {
  (n == kNr ? kByRows<true> : kByRows<false>)[m - 1](n, k, static_cast<const float*>(a), a_row_stride, a_k_stride,
                                                     static_cast<const float*>(b), b_k_stride, c, c_row_stride, init,
                                                     accumulate);
}

inline float sum8(__m256 v) {
  __m128 x = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  x = _mm_add_ps(x, _mm_movehl_ps(x, x));
  return _mm_cvtss_f32(_mm_add_ss(x, _mm_shuffle_ps(x, x, 1)));
}

inline __m256 load8(const PanelSource& stream, int64_t at) {
  if (stream.type == ElementType::f32) return _mm256_loadu_ps(static_cast<const float*>(stream.data) + at);
  const __m128i half = _mm_loadu_si128(reinterpret_cast<const __m128i*>(static_cast<const bf16*>(stream.data) + at));
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(half), 16));
}

// Four vectors of the stream at once hide the latency of the adds.
void dot_few(int rows, int64_t k, const float* few, int64_t few_stride, const PanelSource& stream, int64_t begin,
             int64_t end, float* out, int64_t out_r, int64_t out_j) {
  const int64_t whole = k / 8 * 8;
  for (int64_t j = begin; j < end; j += 4) {
    const int count = static_cast<int>(end - j < 4 ? end - j : 4);
    for (int r = 0; r < rows; ++r) {
      const float* x = few + r * few_stride;
      __m256 sum[4];
      int64_t at[4];
      for (int v = 0; v < 4; ++v) sum[v] = _mm256_setzero_ps(), at[v] = (j + (v < count ? v : 0)) * stream.stride;
      for (int64_t p = 0; p < whole; p += 8) {
        const __m256 left = _mm256_loadu_ps(x + p);
#pragma GCC unroll 4
        for (int v = 0; v < 4; ++v) sum[v] = _mm256_fmadd_ps(left, load8(stream, at[v] + p), sum[v]);
      }
      for (int v = 0; v < count; ++v) {
        float total = sum8(sum[v]);
        for (int64_t p = whole; p < k; ++p)
          total += x[p] * (stream.type == ElementType::f32
                               ? static_cast<const float*>(stream.data)[at[v] + p]
                               : widen(static_cast<const bf16*>(stream.data)[at[v] + p].bits));
        out[r * out_r + (j + v) * out_j] = total;
      }
    }
  }
}

// kc 256: a B panel of 16 KiB in a 32 KiB L1. mc 24 tiles: an A block of 144 KiB in a 256 KiB L2.
const TileKernel kTile{kMr, kNr, 1, 4, true, 256, 24 * kMr, pack<kMr>, pack<kNr>, multiply, 1024};
const GemmKernels kKernels{kTile, kTile, dot_few};

}  // namespace

const GemmKernels& gemm_kernels_avx2() { return kKernels; }

}  // namespace rl::cpu

#include "native/backend/cpu/target_end.inl"

#endif  // __x86_64__
