// The weight gradient on AMX tiles: dw[o, (tap, c)] = sum over positions of dy[o, p] x[c, p + offset(tap)], bf16
// products.
//
// The sum runs along positions, two per word. dy is stored row by row in bf16, so a left tile is 16 rows of 32
// positions.
// The right tile needs rows of position pairs and columns of channels: x is transposed once per block to
// [pair][channel],
// in two versions, for pairs that start at even and at odd positions, so that every tap finds its pairs whole.
#include "native/ops/conv/conv_amx.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "native/backend/cpu/gemm_kernels.h"
#include "native/core/thread_pool.h"
#include "native/ops/dispatch.h"

#if defined(__x86_64__)

#if defined(__GNUC__) && !defined(__clang__)
// GCC 12 reports its own _mm512_undefined_* as uninitialized (GCC bug 105593).
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

#include <immintrin.h>

#define RL_AMX __attribute__((target("amx-tile,amx-bf16,avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")))

namespace rl::cpu {
namespace {

constexpr int64_t kBlockBytes = 640 << 10;
constexpr int64_t kPartials = 16, kPartialFloats = 8 << 20;
constexpr int64_t kTile = 256;  // floats of an accumulator tile

thread_local Workspace plane_buffer, pair_buffer, dy_buffer;

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
int64_t round_up(int64_t a, int64_t b) { return ceil_div(a, b) * b; }

RL_AMX __m512i pairs_at(const float* p) { return (__m512i)_mm512_cvtne2ps_pbh(_mm512_loadu_ps(p + 16),
    _mm512_loadu_ps(p)); }

// out[i * out_stride + c] = the pair (plane c)[2 i], (plane c)[2 i + 1] for 16 planes and 16 pairs.
RL_AMX void transpose_pairs(const float* planes, int64_t plane_stride, int64_t channels, uint32_t* out,
    int64_t out_stride) {
  __m512i r[16], t[16];
  for (int c = 0; c < 16; ++c) r[c] = c < channels ? pairs_at(planes + c * plane_stride) : _mm512_setzero_si512();
  for (int i = 0; i < 16; i += 2) {
    t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
    t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
  }
  for (int i = 0; i < 16; i += 4) {
    r[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
    r[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
    r[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
    r[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
  }
  // r[4 i + j] holds in its 128-bit part L the channels 4 i .. 4 i + 3 of pair 4 L + j.
  for (int j = 0; j < 4; ++j) {
    const __m512i even0 = _mm512_shuffle_i32x4(r[j], r[4 + j], 0x88),
        even1 = _mm512_shuffle_i32x4(r[8 + j], r[12 + j], 0x88);
    const __m512i odd0 = _mm512_shuffle_i32x4(r[j], r[4 + j], 0xDD),
        odd1 = _mm512_shuffle_i32x4(r[8 + j], r[12 + j], 0xDD);
    _mm512_storeu_si512(out + j * out_stride, _mm512_shuffle_i32x4(even0, even1, 0x88));
    _mm512_storeu_si512(out + (4 + j) * out_stride, _mm512_shuffle_i32x4(odd0, odd1, 0x88));
    _mm512_storeu_si512(out + (8 + j) * out_stride, _mm512_shuffle_i32x4(even0, even1, 0xDD));
    _mm512_storeu_si512(out + (12 + j) * out_stride, _mm512_shuffle_i32x4(odd0, odd1, 0xDD));
  }
}

RL_AMX void round_rows(const float* in, uint16_t* out, int64_t count) {
  for (int64_t i = 0; i < count; i += 32) _mm512_storeu_si512(out + i, pairs_at(in + i));
}

// sums[row tile][column tile] += left x right over `count` positions, for one or two row tiles and two column tiles.
// Row tiles of sums lie row_sums floats apart, column tiles kTile apart.
template <bool kTwoRows>
RL_AMX void multiply(int64_t count, const uint16_t* left, int64_t left_stride, const uint32_t* right0,
    const uint32_t* right1,
                     int64_t channels, float* sums, int64_t row_sums) {
  const int64_t left_bytes = left_stride * 2, right_bytes = channels * 4;
  _tile_loadd(0, sums, 64);
  _tile_loadd(1, sums + kTile, 64);
  if constexpr (kTwoRows) {
    _tile_loadd(2, sums + row_sums, 64);
    _tile_loadd(3, sums + row_sums + kTile, 64);
  }
  for (int64_t p = 0; p < count; p += 32) {
    _tile_loadd(4, left + p, left_bytes);
    _tile_loadd(6, right0 + p / 2 * channels, right_bytes);
    _tile_dpbf16ps(0, 4, 6);
    _tile_loadd(7, right1 + p / 2 * channels, right_bytes);
    _tile_dpbf16ps(1, 4, 7);
    if constexpr (kTwoRows) {
      _tile_loadd(5, left + 16 * left_stride + p, left_bytes);
      _tile_dpbf16ps(2, 5, 6);
      _tile_dpbf16ps(3, 5, 7);
    }
  }
  _tile_stored(0, sums, 64);
  _tile_stored(1, sums + kTile, 64);
  if constexpr (kTwoRows) {
    _tile_stored(2, sums + row_sums, 64);
    _tile_stored(3, sums + row_sums + kTile, 64);
  }
}

}  // namespace

void conv_weight_grad_amx(const ConvShape& s, DType dtype, const void* x, const void* dy, void* dw) {
  PlaneLayout lx = input_layout(s);
  PlaneLayout ly = gradient_layout(s, 0, 0, lx.columns);
  const int64_t halo_h = (s.kernel_h - 1) / s.stride, halo_w = (s.kernel_w - 1) / s.stride;
  const int64_t channels = round_up(s.in_channels, 16), phases = lx.phases_h * lx.phases_w,
      taps = s.kernel_h * s.kernel_w;
  const int64_t row_bytes = (lx.planes() + ly.planes()) * lx.columns * 4;
  const int64_t fitting = std::clamp<int64_t>(kBlockBytes / std::max<int64_t>(1, row_bytes) - halo_h, 1,
      std::max<int64_t>(1, s.out_h));
  const int64_t blocks = ceil_div(s.out_h, fitting), rows = blocks == 0 ? 0 : ceil_div(s.out_h, blocks);
  set_rows(lx, rows + halo_h, halo_w + 32);  // whole left tiles may read 31 positions farther
  set_rows(ly, rows, 32);
  // words: two versions of half
  const int64_t positions = round_up(lx.plane_stride, 32), per_phase = positions * channels;
  const int64_t dy_stride = round_up(ly.plane_stride, 32), row_tiles = ceil_div(s.out_channels, 16);
  // Column tiles are (tap, 16 channels), rounded up to an even number.
  const int64_t channel_tiles = channels / 16, column_tiles = taps * channel_tiles, padded = round_up(column_tiles, 2);
  std::vector<int64_t> starts(static_cast<size_t>(padded));
  for (int64_t j = 0; j < padded; ++j) {
    const int64_t at = std::min(j, column_tiles - 1), tap = at / channel_tiles, u = tap / s.kernel_w,
        v = tap % s.kernel_w;
    const int64_t offset = u / s.stride * lx.columns + v / s.stride;
    starts[static_cast<size_t>(j)] = (u % s.stride * lx.phases_w + v % s.stride) * per_phase +
                                     offset % 2 * per_phase / 2 + offset / 2 * channels + at % channel_tiles * 16;
  }
  const int64_t row_sums = padded * kTile, size = row_tiles * row_sums, total = s.batch * blocks;
  const int64_t parts = std::clamp<int64_t>(std::min(total, kPartialFloats / size), 1, kPartials);
  std::vector<float> partial(static_cast<size_t>(parts * size), 0.0f);
  ThreadPool::instance().parallel_for(parts, 1, [&](int64_t begin, int64_t end) {
    conv_amx_configure(1, 16);
    for (int64_t item = total * begin / parts; item < total * end / parts; ++item) {
      // The part this block belongs to: the largest one that starts at or before it.
      int64_t part = begin;
      while (total * (part + 1) / parts <= item) ++part;
      float* sums = partial.data() + part * size;
      const int64_t b = item / blocks, row0 = item % blocks * rows;
      const int64_t count = round_up(std::min(rows, s.out_h - row0) * lx.columns, 32),
          bytes = static_cast<int64_t>(size_of(dtype));
      float* planes = plane_buffer.floats(std::max(lx.planes() * lx.plane_stride, ly.planes() * ly.plane_stride) + 64);
      auto* pairs = static_cast<uint32_t*>(pair_buffer.reserve((phases * per_phase + 32 * channels) * 4));
      auto* left = static_cast<uint16_t*>(dy_buffer.reserve(row_tiles * 16 * dy_stride * 2));
      fill_planes(ly, dtype, static_cast<const char*>(dy) + b * s.out_channels * s.out_h * s.out_w * bytes, row0,
          planes, 64);
      for (int64_t o = 0; o < row_tiles * 16; ++o) {
        if (o < s.out_channels) round_rows(planes + o * ly.plane_stride, left + o * dy_stride, count);
        else std::memset(left + o * dy_stride, 0, static_cast<size_t>(count) * 2);
      }
      fill_planes(lx, dtype, static_cast<const char*>(x) + b * s.in_channels * s.in_h * s.in_w * bytes, row0, planes,
          64);
      for (int64_t phase = 0; phase < phases; ++phase)
        for (int64_t c = 0; c < channels; c += 16)
          for (int64_t odd = 0; odd < 2; ++odd)
            for (int64_t p = 0; p + odd + 32 <= lx.plane_stride; p += 32)
              transpose_pairs(planes + (c * phases + phase) * lx.plane_stride + p + odd, phases * lx.plane_stride,
                  s.in_channels - c,
                              pairs + phase * per_phase + odd * per_phase / 2 + p / 2 * channels + c, channels);
      for (int64_t i = 0; i < row_tiles; i += 2)
        for (int64_t j = 0; j < padded; j += 2)
          (i + 1 < row_tiles ? multiply<true> : multiply<false>)(count, left + i * 16 * dy_stride, dy_stride,
                                                                  pairs + starts[static_cast<size_t>(j)],
                                                                  pairs + starts[static_cast<size_t>(j + 1)], channels,
                                                                  sums + i * row_sums + j * kTile, row_sums);
    }
    conv_amx_release();
  });
  RL_DISPATCH_FLOAT(dtype, T, {
    ThreadPool::instance().parallel_for(s.out_channels, 1, [&](int64_t begin, int64_t end) {
      for (int64_t o = begin; o < end; ++o)
        for (int64_t c = 0; c < s.in_channels; ++c)
          for (int64_t tap = 0; tap < taps; ++tap) {
            const int64_t from = o / 16 * row_sums + (tap * channel_tiles + c / 16) * kTile + o % 16 * 16 + c % 16;
            float sum = 0;
            for (int64_t part = 0; part < parts; ++part) sum += partial[static_cast<size_t>(part * size + from)];
            static_cast<T*>(dw)[(o * s.in_channels + c) * taps + tap] = from_float<T>(sum);
          }
    });
  });
}

}  // namespace rl::cpu

#else

namespace rl::cpu {
void conv_weight_grad_amx(const ConvShape&, DType, const void*, const void*, void*) {}
}  // namespace rl::cpu

#endif
