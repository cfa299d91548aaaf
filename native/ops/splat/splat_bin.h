// Pairs of 16x16 tiles and the projected Gaussians that touch them, sorted by tile, then depth, then Gaussian: a total
// order (Kerbl et al. 2023, section 6: keys tile << 32 | bits of z; positive floats sort like their bits).
//   projected f32 [N, 12] of splat_project · offsets i32 [N + 1] and the value of total of splat_tile_counts, P = total
//   -> gaussians i32 [P]: the Gaussian of each pair
//      slots i32 [P]: where the pair stood before sorting; those of Gaussian i are offsets[i]..offsets[i + 1]
//      tile_ranges i32 [tiles + 1]: the pairs of tile t (row-major) are tile_ranges[t]..tile_ranges[t + 1]
// ERR_CONFIG where total is negative: more than 2^31 - 1 pairs. On the CPU offsets of another projection or picture
// fail with
// ERR_SHAPE when the command runs; on CUDA the pairs are then meaningless, inside their memory.
// CPU: a radix sort of the Gaussians by depth, then one stable counting sort by tile. CUDA: a radix sort of the pairs.
// Exact. Bytes on CUDA: about 24 per pair and 8-bit digit of the key; on the CPU 20 per pair and 100 per Gaussian.
#pragma once

#include <vector>

#include "native/core/tensor.h"
#include "native/ops/splat/tiles.h"
#if RL_WITH_CUDA
#include <cuda_runtime.h>
#endif

namespace rl {

struct SplatBinArgs {
  const float* projected;
  const int32_t* offsets;
  int32_t* gaussians;
  int32_t* slots;
  int32_t* tile_ranges;
  int64_t count, pairs;
  int32_t tiles_x, tiles_y;
  uint64_t* keys;       // scratch: CPU [2 N], CUDA [2 P]
  int32_t* unsorted;    // CUDA scratch [2 P]: Gaussian and slot of the unsorted pairs
  void* scratch;        // CUDA scratch of the sort
  size_t scratch_bytes;
};

void splat_bin_cpu(const SplatBinArgs& args);
#if RL_WITH_CUDA
size_t splat_bin_scratch(int64_t pairs, int32_t tiles);
void splat_bin_cuda(const SplatBinArgs& args, cudaStream_t stream);
#endif

// -> [gaussians, slots, tile_ranges]
std::vector<Tensor> splat_bin(const Tensor& projected, const Tensor& offsets, int64_t total, int64_t width,
                              int64_t height);

}  // namespace rl
