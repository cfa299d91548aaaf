#include <cub/device/device_radix_sort.cuh>

#include "native/backend/cuda/types.cuh"
#include "native/ops/splat/splat_bin.h"

namespace rl {

namespace {

// One key per pair, a Gaussian's pairs together. Writes stay inside the P pairs whatever offsets hold.
__global__ void fill_kernel(SplatBinArgs a) {
  for (int64_t i = blockIdx.x * int64_t{blockDim.x} + threadIdx.x; i < a.count; i += int64_t{gridDim.x} * blockDim.x) {
    const float* row = a.projected + i * kProjectedColumns;
    const TileRect rect = tile_rect(row, a.tiles_x, a.tiles_y);
    const uint64_t depth = __float_as_uint(row[9]);
    int64_t slot = a.offsets[i];
    for (int64_t y = rect.y0; y < rect.y1; ++y)
      for (int64_t x = rect.x0; x < rect.x1; ++x, ++slot) {
        if (slot < 0 || slot >= a.pairs) continue;
        a.keys[slot] = static_cast<uint64_t>(y * a.tiles_x + x) << 32 | depth;
        a.unsorted[slot] = static_cast<int32_t>(i);
        a.unsorted[a.pairs + slot] = static_cast<int32_t>(slot);
      }
  }
}

// gaussians[p], and tile_ranges[t] = p for every tile t that begins at pair p: those after the tile of pair p - 1, up
// to its own.
__global__ void gather_kernel(SplatBinArgs a, const uint64_t* keys) {
  const int64_t tiles = int64_t{a.tiles_x} * a.tiles_y;
  for (int64_t p = blockIdx.x * int64_t{blockDim.x} + threadIdx.x; p <= a.pairs; p += int64_t{gridDim.x} * blockDim.x) {
    const auto tile_of = [&](int64_t at) {
      const int64_t tile = static_cast<int64_t>(keys[at] >> 32);
      return tile < tiles ? tile : tiles;
    };
    const int64_t before = p > 0 ? tile_of(p - 1) : -1, here = p < a.pairs ? tile_of(p) : tiles;
    for (int64_t tile = before + 1; tile <= here; ++tile) a.tile_ranges[tile] = static_cast<int32_t>(p);
    if (p < a.pairs) {
      const int32_t slot = a.slots[p];
      a.gaussians[p] = slot >= 0 && slot < a.pairs ? a.unsorted[slot] : 0;
    }
  }
}

int key_bits(int32_t tiles) {
  int bits = 32;
  while (bits < 64 && (int64_t{1} << (bits - 32)) < tiles) ++bits;
  return bits;
}

}  // namespace

size_t splat_bin_scratch(int64_t pairs, int32_t tiles) {
  size_t bytes = 0;
  RL_CUDA(cub::DeviceRadixSort::SortPairs(nullptr, bytes, static_cast<uint64_t*>(nullptr),
                                          static_cast<uint64_t*>(nullptr),
                                          static_cast<int32_t*>(nullptr), static_cast<int32_t*>(nullptr), pairs, 0,
                                              key_bits(tiles)));
  return bytes;
}

void splat_bin_cuda(const SplatBinArgs& args, cudaStream_t stream) {
  if (args.pairs > 0) {
    fill_kernel<<<grid_for(args.count, 128), 128, 0, stream>>>(args);
    RL_CUDA(cudaGetLastError());
    size_t bytes = args.scratch_bytes;
    // Stable, and the slots come in rising order: equal keys stay in the order of their Gaussians.
    RL_CUDA(cub::DeviceRadixSort::SortPairs(args.scratch, bytes, args.keys, args.keys + args.pairs, args.unsorted +
                                            args.pairs,
                                            args.slots, args.pairs, 0, key_bits(args.tiles_x * args.tiles_y), stream));
  }
  gather_kernel<<<grid_for(args.pairs + 1, 256), 256, 0, stream>>>(args, args.keys + args.pairs);
  RL_CUDA(cudaGetLastError());
}

}  // namespace rl
