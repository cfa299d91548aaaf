// Internal: what every splatting op agrees on. Tiles of 16x16 pixels, the columns of a projected Gaussian, the tiles it
// touches, and the rule of its opacity at a pixel (Kerbl et al. 2023, "3D Gaussian splatting", section 6 and appendix
// C):
//   delta = (u - px, v - py), pixel centres at +0.5        s = (A dx^2 + C dy^2) / 2 + B dx dy
//   a = min(0.99, opacity e^-s); s < 0 or a < 1/255: the Gaussian is skipped at this pixel
//   T (1 - a) < 1e-4: the pixel is finished before this Gaussian
#pragma once

#include <cmath>
#include <cstdint>

#ifdef __CUDACC__
#define RL_SPLAT_HD __host__ __device__ __forceinline__
#else
#define RL_SPLAT_HD inline
#endif

namespace rl {

inline constexpr int kTile = 16;
inline constexpr int kTilePixels = kTile * kTile;
inline constexpr int kProjectedColumns = 12;  // u, v, A, B, C, opacity, r, g, b, z, half width, half height
inline constexpr int kGradientColumns = 10;   // of the first ten
inline constexpr float kMaxAlpha = 0.99f;
inline constexpr float kMinAlpha = 1.0f / 255.0f;
inline constexpr float kMinTransmittance = 1e-4f;

// Sums over the pixels of a tile from which the gradients of a Gaussian are put together, per (tile, Gaussian) pair:
// w = a T, q = -dL/ds, delta = (dx, dy). In this order: w g_r, w g_g, w g_b, w g_z, q, q dx, q dx^2, q dy, q dx dy, q
// dy^2.
inline constexpr int kMoments = 10;

inline int64_t tiles_along(int64_t pixels) { return (pixels + kTile - 1) / kTile; }

// Tiles [x0, x1) x [y0, y1).
struct TileRect {
  int32_t x0, y0, x1, y1;
  RL_SPLAT_HD int64_t count() const { return int64_t{x1 - x0} * (y1 - y0); }
};

// The tiles with a pixel centre inside u +- half along one axis; a NaN anywhere gives none.
RL_SPLAT_HD void tile_span(float centre, float half, int32_t tiles, int32_t& begin, int32_t& end) {
  const float low = ceilf((centre - half - 15.5f) * 0.0625f), high = floorf((centre + half - 0.5f) * 0.0625f) + 1.0f;
  const float count = static_cast<float>(tiles);
  begin = end = 0;
  if (!(high > 0.0f && low < count && low < high)) return;
  begin = low > 0.0f ? static_cast<int32_t>(low) : 0;
  end = high < count ? static_cast<int32_t>(high) : tiles;
}

// Of a row of `projected`; empty for a culled Gaussian (half sizes 0).
RL_SPLAT_HD TileRect tile_rect(const float* row, int32_t tiles_x, int32_t tiles_y) {
  TileRect rect{0, 0, 0, 0};
  if (!(row[10] > 0.0f && row[11] > 0.0f)) return rect;
  tile_span(row[0], row[10], tiles_x, rect.x0, rect.x1);
  tile_span(row[1], row[11], tiles_y, rect.y0, rect.y1);
  return rect;
}

// The gradients of the first ten columns from the moments summed over all pixels. dL/dopacity = sum q / opacity,
// because
// q = a dL/da wherever a is not clamped.
RL_SPLAT_HD void gradients_of_moments(const float* row, const float* m, float* out) {
  const float A = row[2], B = row[3], C = row[4];
  out[0] = -(A * m[5] + B * m[7]);
  out[1] = -(B * m[5] + C * m[7]);
  out[2] = -0.5f * m[6];
  out[3] = -m[8];
  out[4] = -0.5f * m[9];
  out[5] = row[5] > 0.0f ? m[4] / row[5] : 0.0f;
  out[6] = m[0];
  out[7] = m[1];
  out[8] = m[2];
  out[9] = m[3];
}

}  // namespace rl
