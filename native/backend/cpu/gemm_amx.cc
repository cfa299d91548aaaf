// GEMM kernel for AMX: bf16 tiles of 16 rows x 64 bytes, tdpbf16ps. The f32 kernel is the AVX-512 one.
//
// Register tile 32 x 32: four accumulator tiles, two of A, two of B: four multiplications for four tile loads, the best
// ratio eight tiles allow. Panels hold whole tiles: [k / 32][2 tiles][16 rows][16 units], a unit being two bf16 along k.
// A's tile rows are rows of A; B's tile rows are k pairs, as tdpbf16ps wants them.
#include "native/backend/cpu/gemm_kernels.h"

#if defined(__x86_64__)

#if defined(__GNUC__) && !defined(__clang__)
// GCC 12 reports its own _mm512_undefined_* as uninitialized (GCC bug 105593).
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

#include <immintrin.h>

// Only code below is compiled for the target; headers above are not (see gemm_avx512.cc).
#if defined(__clang__)
#pragma clang attribute push( \
    __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,avx2,fma,amx-tile,amx-bf16"))), \
    apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,avx2,fma,amx-tile,amx-bf16")
#endif

namespace rl::cpu {
namespace {

#include "native/backend/cpu/gemm_pack_avx512.inl"

constexpr int kMr = 32, kNr = 32;
constexpr int kTileUnits = 256;  // 16 rows x 16 units = 1 KiB

template <bool kByVector>
void pack_tiles(void* panel, const PanelSource& source, int64_t w0, int w_count, int64_t k0, int64_t k_count,
                bool round_bf16) {
  uint32_t* out = static_cast<uint32_t*>(panel);
  if (kByVector && source.type == ElementType::bf16 && source.k_contiguous && w_count == 32 && k_count % 32 == 0) {
    // The usual left operand is in tile order already: a copy, four rows at a time so that each is read as a stream.
    const bf16* in = static_cast<const bf16*>(source.data) + w0 * source.stride + k0;
    for (int w = 0; w < 32; w += 4, in += 4 * source.stride)
      for (int64_t k = 0; k < k_count; k += 32)
        for (int i = 0; i < 4; ++i)
          _mm512_storeu_si512(out + k / 32 * 2 * kTileUnits + (w + i) * 16, _mm512_loadu_si512(in + i * source.stride + k));
    return;
  }
  for (int64_t k = 0; k < k_count; k += 32)
    for (int w = 0; w < 32; w += 16, out += kTileUnits) {
      __m512i rows[16];
      load_block<true, kByVector>(rows, source, w0 + w, w_count - w, k0 + k, k_count - k, round_bf16);
      for (int i = 0; i < 16; ++i) _mm512_storeu_si512(out + 16 * i, rows[i]);
    }
}

struct alignas(64) TileConfig {
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};

void begin() {
  static const TileConfig config;
  _tile_loadconfig(&config);
}
// Without a release every context switch would save 8 KiB of tiles.
void end() { _tile_release(); }

// kRowTiles x kColumnTiles of the 2 x 2 tiles are there. Tile numbers must be constants: 0-3 sums, 4-5 A, 6-7 B.
template <int kRowTiles, int kColumnTiles>
inline void sum_tiles(int64_t steps, const char* a, const char* b) {
  // Two steps ahead, so that a panel streaming from L2 has arrived; the other panel is in L1 anyway.
  constexpr int kAhead = 4096;
  for (int64_t step = 0; step < steps; ++step, a += 2048, b += 2048) {
    _tile_loadd(6, b, 64);
    if (kColumnTiles > 1) _tile_loadd(7, b + 1024, 64);
    _tile_loadd(4, a, 64);
    for (int line = 0; line < 2048; line += 64) _mm_prefetch(a + kAhead + line, _MM_HINT_T0);
    _tile_dpbf16ps(0, 4, 6);
    if (kColumnTiles > 1) _tile_dpbf16ps(1, 4, 7);
    if (kRowTiles > 1) {
      _tile_loadd(5, a + 1024, 64);
      _tile_dpbf16ps(2, 5, 6);
      if (kColumnTiles > 1) _tile_dpbf16ps(3, 5, 7);
    }
  }
}

void multiply(int m, int n, int64_t k, const void* a_data, int64_t, int64_t, const void* b_data, int64_t, float* c,
              int64_t c_row_stride, const float* init, bool accumulate) {
  const char* a = static_cast<const char*>(a_data);
  const char* b = static_cast<const char*>(b_data);
  const int64_t steps = (k + 31) / 32, stride = c_row_stride * 4;
  if (m == kMr && n == kNr && !init) {
    if (accumulate) {
      _tile_loadd(0, c, stride);
      _tile_loadd(1, c + 16, stride);
      _tile_loadd(2, c + 16 * c_row_stride, stride);
      _tile_loadd(3, c + 16 * c_row_stride + 16, stride);
    } else {
      _tile_zero(0);
      _tile_zero(1);
      _tile_zero(2);
      _tile_zero(3);
    }
    sum_tiles<2, 2>(steps, a, b);
    _tile_stored(0, c, stride);
    _tile_stored(1, c + 16, stride);
    _tile_stored(2, c + 16 * c_row_stride, stride);
    _tile_stored(3, c + 16 * c_row_stride + 16, stride);
    return;
  }
  alignas(64) float sums[kMr * kNr];
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  if (m > 16) {
    if (n > 16) sum_tiles<2, 2>(steps, a, b);
    else sum_tiles<2, 1>(steps, a, b);
  } else {
    if (n > 16) sum_tiles<1, 2>(steps, a, b);
    else sum_tiles<1, 1>(steps, a, b);
  }
  _tile_stored(0, sums, kNr * 4);
  _tile_stored(1, sums + 16, kNr * 4);
  _tile_stored(2, sums + 16 * kNr, kNr * 4);
  _tile_stored(3, sums + 16 * kNr + 16, kNr * 4);
  for (int j = 0; j < n; j += 16) {
    const __mmask16 mask = first16(n - j);
    const __m512 start = init ? _mm512_maskz_loadu_ps(mask, init + j) : _mm512_setzero_ps();
    for (int i = 0; i < m; ++i) {
      float* row = c + i * c_row_stride + j;
      __m512 x = _mm512_add_ps(_mm512_load_ps(sums + i * kNr + j), start);
      if (accumulate) x = _mm512_add_ps(x, _mm512_maskz_loadu_ps(mask, row));
      _mm512_mask_storeu_ps(row, mask, x);
    }
  }
}

}  // namespace

const GemmKernels& gemm_kernels_amx() {
  // kc 256: a B panel of 16 KiB stays in L1 while A panels stream past it (faster than 384, 512, 1024). mc 256: an A
  // block of 128 KiB, next to a C block of 1 MiB, in L2.
  static const GemmKernels kernels{
      gemm_kernels_avx512_bf16().f32,
      {kMr, kNr, 32, 2, false, 256, 256, pack_tiles<true>, pack_tiles<false>, multiply, 1024, begin, end},
      gemm_kernels_avx512_bf16().dot_few};
  return kernels;
}

}  // namespace rl::cpu

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

#endif  // __x86_64__
