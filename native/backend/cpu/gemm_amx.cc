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
    __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,avx2,fma,prfchw,amx-tile,amx-bf16"))), \
    apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,avx2,fma,prfchw,amx-tile,amx-bf16")
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
        for (int i = 0; i < 4; ++i) {
          // The rows are too short for the hardware to follow: fetch the next four.
          _mm_prefetch(in + (i + 4) * source.stride + k, _MM_HINT_T0);
          _mm512_storeu_si512(out + k / 32 * 2 * kTileUnits + (w + i) * 16,
                              _mm512_loadu_si512(in + i * source.stride + k));
        }
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

// What the multiplication reads: per step of 32 k one tile pair of A (in a panel, or rows in place) and one of B; cache
// lines are fetched from two places per step.
struct Operands {
  int64_t steps;
  const char* a;
  int64_t a_row_bytes, a_tile_bytes, a_step_bytes;
  const char* b;
  const char *a_ahead, *b_ahead;
  int a_lines, b_lines;
};

// kRowTiles x kColumnTiles of the 2 x 2 tiles are there. Tile numbers must be constants: 0-3 sums, 4-5 A, 6-7 B.
// The panels need no prefetch of their own: the hardware follows such streams from L2, and fetching them a second time
// takes load slots.
template <int kRowTiles, int kColumnTiles>
inline void sum_tiles(const Operands& x) {
  const char *a = x.a, *b = x.b, *a_ahead = x.a_ahead, *b_ahead = x.b_ahead;
  for (int64_t step = 0; step < x.steps; ++step, a += x.a_step_bytes, b += 2048) {
    _tile_loadd(6, b, 64);
    if (kColumnTiles > 1) _tile_loadd(7, b + 1024, 64);
    _tile_loadd(4, a, x.a_row_bytes);
    if (kRowTiles > 1) _tile_loadd(5, a + x.a_tile_bytes, x.a_row_bytes);
    for (int line = 0; line < x.a_lines; ++line, a_ahead += 64) _mm_prefetch(a_ahead, _MM_HINT_T1);
    for (int line = 0; line < x.b_lines; ++line, b_ahead += 64) _mm_prefetch(b_ahead, _MM_HINT_T1);
    _tile_dpbf16ps(0, 4, 6);
    if (kColumnTiles > 1) _tile_dpbf16ps(1, 4, 7);
    if (kRowTiles > 1) {
      _tile_dpbf16ps(2, 5, 6);
      if (kColumnTiles > 1) _tile_dpbf16ps(3, 5, 7);
    }
  }
}

void multiply_ahead(int m, int n, int64_t k, const void* a_data, int64_t a_row_stride, int64_t, const void* b_data,
                    int64_t, float* c, int64_t c_row_stride, const float* init, bool accumulate, const Ahead& ahead) {
  const int64_t steps = (k + 31) / 32, stride = c_row_stride * 4;
  const bool in_place = a_row_stride != 1;
  auto lines = [&](int64_t bytes) {
    return bytes == 0 || steps == 0 ? 0 : static_cast<int>((bytes / 64 + steps - 1) / steps);
  };
  const Operands x{steps,
                   static_cast<const char*>(a_data),
                   in_place ? a_row_stride * 4 : 64,
                   in_place ? a_row_stride * 64 : 1024,
                   in_place ? 64 : 2048,
                   static_cast<const char*>(b_data),
                   ahead.a,
                   ahead.b,
                   lines(ahead.a_bytes),
                   lines(ahead.b_bytes)};
  if (m == kMr && n == kNr && !(init && accumulate)) {
    if (accumulate) {
      _tile_loadd(0, c, stride);
      _tile_loadd(1, c + 16, stride);
      _tile_loadd(2, c + 16 * c_row_stride, stride);
      _tile_loadd(3, c + 16 * c_row_stride + 16, stride);
    } else if (init) {  // a stride of 0 repeats the row
      _tile_loadd(0, init, 0);
      _tile_loadd(1, init + 16, 0);
      _tile_loadd(2, init, 0);
      _tile_loadd(3, init + 16, 0);
    } else {
      _tile_zero(0);
      _tile_zero(1);
      _tile_zero(2);
      _tile_zero(3);
    }
    // Rows of a matrix C are not in the cache as sums in tiles are: fetch them while multiplying.
    if (!accumulate && c_row_stride != kNr)
      for (int i = 0; i < kMr; ++i) {
        __builtin_prefetch(c + i * c_row_stride, 1);
        __builtin_prefetch(c + i * c_row_stride + 16, 1);
      }
    sum_tiles<2, 2>(x);
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
    if (n > 16) sum_tiles<2, 2>(x);
    else sum_tiles<2, 1>(x);
  } else {
    if (n > 16) sum_tiles<1, 2>(x);
    else sum_tiles<1, 1>(x);
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
      __m512 sum = _mm512_add_ps(_mm512_load_ps(sums + i * kNr + j), start);
      if (accumulate) sum = _mm512_add_ps(sum, _mm512_maskz_loadu_ps(mask, row));
      _mm512_mask_storeu_ps(row, mask, sum);
    }
  }
}

void multiply(int m, int n, int64_t k, const void* a, int64_t a_row_stride, int64_t a_k_stride, const void* b,
              int64_t b_k_stride, float* c, int64_t c_row_stride, const float* init, bool accumulate) {
  multiply_ahead(m, n, k, a, a_row_stride, a_k_stride, b, b_k_stride, c, c_row_stride, init, accumulate, Ahead{});
}

void store_half(int m, int n, const float* sums, int64_t sums_stride, void* c, int64_t c_row_stride,
                const float* bias) {
  bf16* out = static_cast<bf16*>(c);
  const __mmask16 mask0 = first16(n), mask1 = first16(n - 16);
  const uint32_t mask = static_cast<uint32_t>(mask0) | static_cast<uint32_t>(mask1) << 16;
  const __m512 bias0 = bias ? _mm512_maskz_loadu_ps(mask0, bias) : _mm512_setzero_ps();
  const __m512 bias1 = bias ? _mm512_maskz_loadu_ps(mask1, bias + 16) : _mm512_setzero_ps();
  for (int i = 0; i < m; ++i, sums += sums_stride, out += c_row_stride) {
    const __m512 low = _mm512_add_ps(_mm512_maskz_loadu_ps(mask0, sums), bias0);
    const __m512 high = _mm512_add_ps(_mm512_maskz_loadu_ps(mask1, sums + 16), bias1);
    _mm512_mask_storeu_epi16(out, mask, (__m512i)_mm512_cvtne2ps_pbh(high, low));
  }
}

}  // namespace

const GemmKernels& gemm_kernels_amx() {
  // kc 256: a B panel of 16 KiB stays in L1 while A panels stream past it (faster than 192, 320, 384, 512). mc 512 and
  // nc 512: an A block of 256 KiB, next to sums of 1 MiB, in L2; 512 x 512 blocks read the operands least often.
  static const GemmKernels kernels = [] {
    TileKernel tile{kMr, kNr, 32, 2, false, 256, 512, pack_tiles<true>, pack_tiles<false>, multiply, 512, begin, end};
    tile.task_work = 2e6;
    tile.long_task_work = 5e7;
    tile.multiply_ahead = multiply_ahead;
    tile.store_half = store_half;
    tile.rows_in_place = true;
    tile.blocked_sums = true;
    tile.share_a = true;
    return GemmKernels{gemm_kernels_avx512_bf16().f32, tile, gemm_kernels_avx512_bf16().dot_few};
  }();
  return kernels;
}

}  // namespace rl::cpu

#include "native/backend/cpu/target_end.inl"

#endif  // __x86_64__
