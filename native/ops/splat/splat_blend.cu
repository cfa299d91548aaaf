#include "native/ops/splat/blend_tile.cuh"
#include "native/ops/splat/splat_blend.h"

namespace rl {

namespace {

__global__ void __launch_bounds__(kTilePixels) blend_kernel(SplatBlendArgs a) {
  __shared__ TileSplat batch[kTilePixels];
  const TilePixel pixel = tile_pixel(a.pairs, blockIdx.x);
  int64_t begin, end;
  tile_pairs(a.pairs, blockIdx.x, begin, end);
  float transmittance = 1, colour[3] = {0, 0, 0}, depth = 0, median = 0;
  int32_t last = static_cast<int32_t>(begin);
  bool finished = !pixel.inside;
  for (int64_t first = begin; first < end; first += kTilePixels) {
    if (__syncthreads_and(finished)) break;  // also: nobody reads the batch any more
    const int count = static_cast<int>(min(end - first, int64_t{kTilePixels}));
    if (threadIdx.x < count) batch[threadIdx.x] = load_splat(a.pairs, first + threadIdx.x);
    __syncthreads();
    for (int k = 0; k < count && !finished; ++k) {
      const TileSplat& g = batch[k];
      Reach at;
      if (!reach(g, pixel.x, pixel.y, at)) continue;
      const float next = transmittance * (1.0f - at.alpha);
      if (next < kMinTransmittance) {
        finished = true;
        break;
      }
      const float weight = at.alpha * transmittance;
#pragma unroll
      for (int c = 0; c < 3; ++c) colour[c] += weight * g.colour[c];
      depth += weight * g.z;
      if (transmittance >= 0.5f && next < 0.5f) median = g.z;
      transmittance = next;
      last = static_cast<int32_t>(first + k + 1);
    }
  }
  if (!pixel.inside) return;
#pragma unroll
  for (int c = 0; c < 3; ++c)
    a.image[c * a.pairs.width * a.pairs.height + pixel.index] = colour[c] + transmittance * a.background[c];
  a.alpha[pixel.index] = 1.0f - transmittance;
  a.depth[pixel.index] = depth;
  a.median_depth[pixel.index] = median;
  a.transmittance[pixel.index] = transmittance;
  a.last[pixel.index] = last;
}

}  // namespace

void splat_blend_cuda(const SplatBlendArgs& args, cudaStream_t stream) {
  const int64_t tiles = tiles_along(args.pairs.width) * tiles_along(args.pairs.height);
  blend_kernel<<<static_cast<unsigned>(tiles), kTilePixels, 0, stream>>>(args);
  RL_CUDA(cudaGetLastError());
}

}  // namespace rl
