// Internal: what the CUDA kernels of splat_blend, its backward and splat_lift share. One block of 256 threads per tile,
// a thread per pixel; a warp is a block of 8x4 pixels. Gaussians come through shared memory, a batch at a time.
#pragma once

#include "native/backend/cuda/types.cuh"
#include "native/ops/splat/pairs.h"

namespace rl {

inline constexpr int kWarps = kTilePixels / 32;

struct TilePixel {
  int64_t index;  // in a plane [H, W]
  float x, y;     // centre
  bool inside;    // the picture
};

__device__ __forceinline__ TilePixel tile_pixel(const PairArgs& a, int64_t tile) {
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int64_t tiles_x = (a.width + kTile - 1) / kTile;
  const int64_t x = tile % tiles_x * kTile + warp % 2 * 8 + lane % 8, y = tile / tiles_x * kTile + warp / 2 * 4 +
      lane / 8;
  return {y * a.width + x, static_cast<float>(x) + 0.5f, static_cast<float>(y) + 0.5f, x < a.width && y < a.height};
}

// The pairs of a tile, kept inside the list whatever the ranges hold.
__device__ __forceinline__ void tile_pairs(const PairArgs& a, int64_t tile, int64_t& begin, int64_t& end) {
  begin = min(max(int64_t{a.tile_ranges[tile]}, int64_t{0}), a.pairs);
  end = min(max(int64_t{a.tile_ranges[tile + 1]}, begin), a.pairs);
}

// The columns of a Gaussian that blending reads; an index outside the scene gives one that shows nowhere.
struct TileSplat {
  float u, v, A, B, C, opacity, colour[3], z;
};

__device__ __forceinline__ TileSplat load_splat(const PairArgs& a, int64_t pair) {
  const int32_t i = a.gaussians[pair];
  if (i < 0 || i >= a.count) return {};
  const float4* row = reinterpret_cast<const float4*>(a.projected + int64_t{i} * kProjectedColumns);
  const float4 p = row[0], q = row[1], r = row[2];
  return {p.x, p.y, p.z, p.w, q.x, q.y, {q.z, q.w, r.x}, r.y};
}

// Of a Gaussian at a pixel: false where it is skipped.
struct Reach {
  float dx, dy, raw, alpha;
};

__device__ __forceinline__ bool reach(const TileSplat& g, float x, float y, Reach& out) {
  out.dx = g.u - x;
  out.dy = g.v - y;
  const float sigma = 0.5f * (g.A * out.dx * out.dx + g.C * out.dy * out.dy) + g.B * out.dx * out.dy;
  out.raw = g.opacity * expf(-sigma);
  out.alpha = fminf(kMaxAlpha, out.raw);
  return sigma >= 0.0f && out.alpha >= kMinAlpha;
}

// One halving of a transposed reduction: lanes with the bit `Offset` keep the upper half of the values, the others the
// lower.
template <int Count, int Offset>
__device__ __forceinline__ void exchange(float* v, bool upper) {
  constexpr int kKept = (Count + 1) / 2;
#pragma unroll
  for (int i = 0; i < kKept; ++i) {
    const float low = v[i], high = i + kKept < Count ? v[i + kKept] : 0.0f;
    v[i] = (upper ? high : low) + __shfl_xor_sync(0xFFFFFFFFu, upper ? low : high, Offset);
  }
}

}  // namespace rl
