#include "native/ops/conv/conv_amx.h"

#include "native/backend/cpu/bf16.h"
#include "native/backend/cpu/cpu_features.h"
#include "native/backend/cpu/gemm_kernels.h"

#if defined(__x86_64__)

#if defined(__GNUC__) && !defined(__clang__)
// GCC 12 reports its own _mm512_undefined_* as uninitialized (GCC bug 105593).
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

#include <immintrin.h>

#include <cstring>

#define RL_AMX __attribute__((target("amx-tile,amx-bf16,avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")))

namespace rl::cpu {
namespace {

// out[i] = (bf16 even[i], bf16 odd[i]).
RL_AMX void pack_pairs(const float* even, const float* odd, uint32_t* out, int64_t count) {
  for (int64_t i = 0; i < count; i += 16) {
    const auto mask = static_cast<__mmask16>(count - i >= 16 ? 0xFFFF : (1 << (count - i)) - 1);
    const __m256bh low = _mm512_cvtneps_pbh(_mm512_maskz_loadu_ps(mask, even + i));
    const __m256bh high = _mm512_cvtneps_pbh(_mm512_maskz_loadu_ps(mask, odd + i));
    const __m512i word = _mm512_or_si512(_mm512_cvtepu16_epi32((__m256i)low),
        _mm512_slli_epi32(_mm512_cvtepu16_epi32((__m256i)high), 16));
    _mm512_mask_storeu_epi32(out + i, mask, word);
  }
}

struct alignas(64) TileConfig {
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t bytes[16] = {};
  uint8_t rows[16] = {};
};

// One tile of 16 rows by 48 positions: sums 0..2, left 3, right 4..6.
RL_AMX void tile_1x3(int64_t blocks, int64_t a_words, int64_t row_bytes, const uint32_t* a, const int64_t* offsets,
                     const uint32_t* planes, int64_t stride, float* out) {
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  for (int64_t k = 0; k < blocks; ++k, a += a_words) {
    const uint32_t* b = planes + offsets[k];
    _tile_loadd(3, a, row_bytes);
    _tile_loadd(4, b, stride);
    _tile_dpbf16ps(0, 3, 4);
    _tile_loadd(5, b + 16, stride);
    _tile_dpbf16ps(1, 3, 5);
    _tile_loadd(6, b + 32, stride);
    _tile_dpbf16ps(2, 3, 6);
  }
  _tile_stored(0, out, 48 * 4);
  _tile_stored(1, out + 16, 48 * 4);
  _tile_stored(2, out + 32, 48 * 4);
}

// Two tiles of 16 rows by 32 positions: sums 0, 1, 2, 7; left 3, 6; right 4, 5.
RL_AMX void tile_2x2(int64_t blocks, int64_t a_words, int64_t row_bytes, const uint32_t* a, const int64_t* offsets,
                     const uint32_t* planes, int64_t stride, float* out) {
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(7);
  for (int64_t k = 0; k < blocks; ++k, a += 2 * a_words) {
    const uint32_t* b = planes + offsets[k];
    _tile_loadd(3, a, row_bytes);
    _tile_loadd(4, b, stride);
    _tile_dpbf16ps(0, 3, 4);
    _tile_loadd(5, b + 16, stride);
    _tile_dpbf16ps(1, 3, 5);
    _tile_loadd(6, a + a_words, row_bytes);
    _tile_dpbf16ps(2, 6, 4);
    _tile_dpbf16ps(7, 6, 5);
  }
  _tile_stored(0, out, 32 * 4);
  _tile_stored(1, out + 16, 32 * 4);
  _tile_stored(2, out + 16 * 32, 32 * 4);
  _tile_stored(7, out + 16 * 32 + 16, 32 * 4);
}

RL_AMX void load_config(const TileConfig& config) {
  // GCC's intrinsic declares only the first eight bytes as read: keep the others from being optimised away.
  asm volatile("" : : "r"(&config) : "memory");
  _tile_loadconfig(&config);
}
RL_AMX void release() { _tile_release(); }

}  // namespace

bool conv_amx_available() { return best_isa() >= Isa::amx; }

void fill_pair_planes(const PlaneLayout& l, DType dtype, const void* image, int64_t row0, uint32_t* planes,
    int64_t tail) {
  // One plane of each channel of the pair, in f32, then both are packed.
  thread_local Workspace buffer;
  const int64_t size = l.plane_stride, phases = l.phases_h * l.phases_w;
  float* pair = buffer.floats(2 * phases * size);
  PlaneLayout two = l;
  for (int64_t unit = 0; unit < l.units; ++unit) {
    const int64_t channels = l.channels - 2 * unit;
    uint32_t* out = planes + unit * phases * size;
    if (channels <= 0) {
      std::memset(out, 0, static_cast<size_t>(phases * size) * 4);
      continue;
    }
    two.channels = two.units = channels >= 2 ? 2 : 1;
    const int64_t bytes = static_cast<int64_t>(size_of(dtype));
    fill_planes(two, dtype, static_cast<const char*>(image) + 2 * unit * l.height * l.width * bytes, row0, pair, 0);
    if (channels == 1) std::memset(pair + phases * size, 0, static_cast<size_t>(phases * size) * 4);
    pack_pairs(pair, pair + phases * size, out, phases * size);
  }
  std::memset(planes + l.units * phases * size, 0, static_cast<size_t>(tail) * 4);
}

void conv_amx_configure(int row_tiles, int64_t pairs) {
  TileConfig config;
  for (int t = 0; t < 8; ++t) {
    const bool left = t == 3 || (t == 6 && row_tiles == 2), right = t == 4 || t == 5 || (t == 6 && row_tiles == 1);
    config.bytes[t] = static_cast<uint16_t>(left ? pairs * 4 : 64);
    config.rows[t] = static_cast<uint8_t>(right ? pairs : 16);
  }
  load_config(config);
}

void conv_amx_release() { release(); }

void conv_amx_tile(int row_tiles, int64_t blocks, int64_t pairs, const uint32_t* a, const int64_t* offsets,
                   const uint32_t* planes, int64_t pair_stride, float* out) {
  (row_tiles == 1 ? tile_1x3 : tile_2x2)(blocks, 16 * pairs, pairs * 4, a, offsets, planes, pair_stride * 4, out);
}

}  // namespace rl::cpu

#else

namespace rl::cpu {

bool conv_amx_available() { return false; }
void fill_pair_planes(const PlaneLayout&, DType, const void*, int64_t, uint32_t*, int64_t) {}
void conv_amx_configure(int, int64_t) {}
void conv_amx_release() {}
void conv_amx_tile(int, int64_t, int64_t, const uint32_t*, const int64_t*, const uint32_t*, int64_t, float*) {}

}  // namespace rl::cpu

#endif
