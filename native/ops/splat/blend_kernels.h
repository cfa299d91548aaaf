// Internal: the inner kernels of splat_blend, its backward and splat_lift on the CPU, one set per ISA (instances of
// blend_kernels.inl). A kernel walks the list of one tile; its 256 pixels lie in arrays of the tile, row-major.
#pragma once

#include <cstdint>

#include "native/ops/splat/tiles.h"

namespace rl::cpu {

// The part of the sorted pairs that belongs to one tile, and where its pixels lie.
struct TileList {
  const float* projected;    // [N, 12]
  const int32_t* gaussians;  // [P]
  int64_t begin, end;        // pairs of this tile
  float x0, y0;              // corner of the tile in pixels
};

// Not a power of two: planes 4 KiB apart would make loads wait for stores of another plane.
inline constexpr int kPlane = kTilePixels + kTile;

// Pixels outside the picture start finished (limit 2).
struct alignas(64) ForwardTile {
  float transmittance[kPlane];
  float limit[kPlane];  // kMinTransmittance, or 2 once the pixel is finished
  float colour[3][kPlane];
  float depth[kPlane];
  float median[kPlane];
  int32_t last[kPlane];
};

struct alignas(64) BackwardTile {
  float transmittance[kPlane];  // final one; what was before the pair at hand as the walk goes back
  float behind[kPlane];         // sum_k g_k (value_k seen behind the pair at hand), less g_alpha
  float gradient[4][kPlane];    // of r, g, b, depth
  int32_t last[kPlane];
};

struct alignas(64) LiftTile {
  float transmittance[kPlane];
  float limit[kPlane];
  float mask[kPlane];
  float near[kPlane], far[kPlane];  // a Gaussian counts where near < z < far
};

struct BlendKernels {
  void (*forward)(const TileList& list, ForwardTile& tile);
  // Writes the kMoments sums of every pair of the list to row slots[p] of `moments`; without `depth` its gradient is 0.
  void (*backward)(const TileList& list, BackwardTile& tile, bool depth, const int32_t* slots, float* moments);
  // Writes (sum w m, sum w) of every pair of the list to row slots[p] of `sums`.
  void (*lift)(const TileList& list, LiftTile& tile, const int32_t* slots, float* sums);
};

const BlendKernels& blend_kernels();  // of best_isa()

}  // namespace rl::cpu
