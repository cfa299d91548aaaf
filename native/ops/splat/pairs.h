// Internal: argument checks of the ops over (tile, Gaussian) pairs, and their walk over tiles on the CPU.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstring>

#include "native/core/thread_pool.h"
#include "native/ops/check.h"
#include "native/ops/splat/blend_kernels.h"
#include "native/ops/splat/tiles.h"

namespace rl {

inline constexpr int64_t kMaxPictureSide = 65535;

inline void check_picture(const char* op, int64_t width, int64_t height) {
  RL_CHECK(width >= 1 && width <= kMaxPictureSide && height >= 1 && height <= kMaxPictureSide &&
           width * height < INT32_MAX,
           code::kConfig, op, ": a picture has 1 to ", kMaxPictureSide,
               " pixels a side and less than 2^31 in all, got ", width,
           "x", height);
}

inline void check_projected(const char* op, const Tensor& projected) {
  check_dtype(op, "projected", projected, DType::f32);
  RL_CHECK(projected.rank() == 2 && projected.size(1) == kProjectedColumns && projected.size(0) < INT32_MAX,
           code::kShape, op,
           ": expected projected [N,12] of splat_project, got ", projected.shape());
}

inline void check_argument(const char* op, const char* name, const Tensor& tensor, DType dtype, const Shape& shape,
                           const Tensor& projected) {
  check_dtype(op, name, tensor, dtype);
  RL_CHECK(tensor.shape() == shape, code::kShape, op, ": expected ", name, " ", shape, ", got ", tensor.shape());
  RL_CHECK(&tensor.device() == &projected.device(), code::kShape, op, ": ", name, " is on ", tensor.device().name(),
           " but projected is on ", projected.device().name());
}

// What splat_bin made of `projected`. `offsets` and `slots` only where the op takes them.
inline void check_pairs(const char* op, const Tensor& projected, const Tensor& gaussians, const Tensor& tile_ranges,
                        int64_t width,
                        int64_t height) {
  check_projected(op, projected);
  check_picture(op, width, height);
  check_dtype(op, "gaussians", gaussians, DType::i32);
  RL_CHECK(gaussians.rank() == 1, code::kShape, op, ": expected gaussians [P] of splat_bin, got ", gaussians.shape());
  check_argument(op, "gaussians", gaussians, DType::i32, {gaussians.size(0)}, projected);
  check_argument(op, "tile_ranges", tile_ranges, DType::i32, {tiles_along(width) * tiles_along(height) + 1}, projected);
}

struct PairArgs {
  const float* projected;      // [N, 12]
  const int32_t* gaussians;    // [P]
  const int32_t* tile_ranges;  // [tiles + 1]
  int64_t count, pairs;        // N, P
  int64_t width, height;
};

inline PairArgs pair_args(const Tensor& projected, const Tensor& gaussians, const Tensor& tile_ranges, int64_t width,
                          int64_t height) {
  return {projected.as<float>(), gaussians.as<int32_t>(), tile_ranges.as<int32_t>(), projected.size(0),
      gaussians.size(0), width,
          height};
}

// Where a tile lies in the picture.
struct TilePixels {
  int64_t x0, y0;
  int width, height;  // inside the picture
};

// Calls body(list, pixels) for every tile, on all cores. Tiles differ much in work, so each core takes the next free
// one; a body writes what belongs to its tile alone, so the result does not depend on who took it.
template <class Body>
void for_each_tile(const char* op, const PairArgs& a, const Body& body) {
  const int64_t tiles_x = tiles_along(a.width), tiles = tiles_x * tiles_along(a.height);
  std::atomic<int64_t> next{0};
  ThreadPool::instance().parallel_for(std::min<int64_t>(ThreadPool::instance().size(), tiles), 1,
                                      [&](int64_t, int64_t) {
    for (int64_t tile; (tile = next.fetch_add(1, std::memory_order_relaxed)) < tiles;) {
      const int64_t begin = a.tile_ranges[tile], end = a.tile_ranges[tile + 1];
      RL_CHECK(begin >= 0 && begin <= end && end <= a.pairs, code::kShape, op, ": tile_ranges[", tile, "] = ", begin,
               "..", end,
               " does not fit ", a.pairs, " pairs; use what splat_bin gave for this picture");
      for (int64_t p = begin; p < end; ++p)
        RL_CHECK(a.gaussians[p] >= 0 && a.gaussians[p] < a.count, code::kShape, op, ": gaussians[", p, "] = ",
                 a.gaussians[p],
                 ", expected an index in [0, ", a.count, ")");
      const TilePixels pixels{tile % tiles_x * kTile, tile / tiles_x * kTile,
                              static_cast<int>(std::min<int64_t>(kTile, a.width - tile % tiles_x * kTile)),
                              static_cast<int>(std::min<int64_t>(kTile, a.height - tile / tiles_x * kTile))};
      body(cpu::TileList{a.projected, a.gaussians, begin, end, static_cast<float>(pixels.x0),
          static_cast<float>(pixels.y0)},
           pixels);
    }
  });
}

// The pairs of Gaussian i are offsets[i] .. offsets[i + 1] of all.
inline void check_range(const char* op, const int32_t* offsets, int64_t i, int64_t pairs) {
  RL_CHECK(offsets[i] >= 0 && offsets[i] <= offsets[i + 1] && offsets[i + 1] <= pairs, code::kShape, op, ": offsets[", i,
           "] = ", offsets[i], "..", offsets[i + 1], " does not fit ", pairs, " pairs");
}

inline void check_slots(const char* op, const cpu::TileList& list, const int32_t* slots, int64_t pairs) {
  for (int64_t p = list.begin; p < list.end; ++p)
    RL_CHECK(slots[p] >= 0 && slots[p] < pairs, code::kShape, op, ": slots[", p, "] = ", slots[p],
             ", expected a place in [0, ",
             pairs, ")");
}

// Rows of a tile to and from a plane [H, W] of the picture.
template <class T>
void read_plane(const T* plane, const PairArgs& a, const TilePixels& at, T* tile, T outside) {
  for (int y = 0; y < kTile; ++y) {
    const int inside = y < at.height ? at.width : 0;
    const T* row = plane + (at.y0 + y) * a.width + at.x0;
    if (inside > 0) std::memcpy(tile + y * kTile, row, static_cast<size_t>(inside) * sizeof(T));
    std::fill(tile + y * kTile + inside, tile + (y + 1) * kTile, outside);
  }
}
template <class T>
void write_plane(const T* tile, const PairArgs& a, const TilePixels& at, T* plane) {
  for (int y = 0; y < at.height; ++y)
    std::memcpy(plane + (at.y0 + y) * a.width + at.x0, tile + y * kTile, static_cast<size_t>(at.width) * sizeof(T));
}

// Marks the pixels outside the picture as finished.
inline void start_walk(const TilePixels& at, float* transmittance, float* limit) {
  std::fill(transmittance, transmittance + kTilePixels, 1.0f);
  for (int y = 0; y < kTile; ++y)
    for (int x = 0; x < kTile; ++x) limit[y * kTile + x] = y < at.height && x < at.width ? kMinTransmittance : 2.0f;
}

}  // namespace rl
