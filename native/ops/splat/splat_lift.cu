#include "native/backend/cuda/reduce.cuh"
#include "native/ops/splat/blend_tile.cuh"
#include "native/ops/splat/splat_lift.h"

namespace rl {

namespace {

constexpr int kBatch = 64;

__global__ void __launch_bounds__(kTilePixels) lift_kernel(SplatLiftArgs a) {
  __shared__ TileSplat batch[kBatch];
  __shared__ float partial[kBatch][kWarps][2];
  const TilePixel pixel = tile_pixel(a.pairs, blockIdx.x);
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  int64_t begin, end;
  tile_pairs(a.pairs, blockIdx.x, begin, end);
  const float mask = pixel.inside ? a.mask[pixel.index] : 0.0f;
  float near = -INFINITY, far = INFINITY, transmittance = 1;
  if (pixel.inside && a.median_depth) {
    const float median = a.median_depth[pixel.index];
    near = median - kLiftDepthShare * median;
    far = median + kLiftDepthShare * median;
  }
  bool finished = !pixel.inside;
  for (int64_t first = begin; first < end; first += kBatch) {
    __syncthreads();  // the batch and the sums before are done with
    const int count = static_cast<int>(min(end - first, int64_t{kBatch}));
    if (threadIdx.x < count) batch[threadIdx.x] = load_splat(a.pairs, first + threadIdx.x);
    __syncthreads();
    for (int k = 0; k < count; ++k) {
      const TileSplat& g = batch[k];
      Reach at;
      float weight = 0;
      if (!finished && reach(g, pixel.x, pixel.y, at)) {
        const float next = transmittance * (1.0f - at.alpha);
        if (next < kMinTransmittance) {
          finished = true;
        } else {
          if (g.z > near && g.z < far) weight = at.alpha * transmittance;
          transmittance = next;
        }
      }
      float masked = 0, all = 0;
      if (__any_sync(0xFFFFFFFFu, weight > 0.0f)) {
        masked = warp_sum(weight * mask);
        all = warp_sum(weight);
      }
      if (lane < 2) partial[k][warp][lane] = lane == 0 ? masked : all;
    }
    __syncthreads();
    for (int i = threadIdx.x; i < count * 2; i += kTilePixels) {
      float sum = 0;
#pragma unroll
      for (int w = 0; w < kWarps; ++w) sum += partial[i / 2][w][i % 2];
      const int32_t slot = a.slots[first + i / 2];
      if (slot >= 0 && slot < a.pairs.pairs) a.sums[int64_t{slot} * 2 + i % 2] = sum;
    }
  }
}

__global__ void sum_kernel(SplatLiftArgs a) {
  const int64_t stride = int64_t{gridDim.x} * blockDim.x;
  for (int64_t i = blockIdx.x * int64_t{blockDim.x} + threadIdx.x; i < a.pairs.count; i += stride) {
    float masked = 0, all = 0;
    const int64_t end = min(int64_t{a.offsets[i + 1]}, a.pairs.pairs);
    for (int64_t p = max(int64_t{a.offsets[i]}, int64_t{0}); p < end; ++p) {
      masked += a.sums[2 * p];
      all += a.sums[2 * p + 1];
    }
    a.out[2 * i] = masked;
    a.out[2 * i + 1] = all;
  }
}

}  // namespace

void splat_lift_cuda(const SplatLiftArgs& args, cudaStream_t stream) {
  const int64_t tiles = tiles_along(args.pairs.width) * tiles_along(args.pairs.height);
  lift_kernel<<<static_cast<unsigned>(tiles), kTilePixels, 0, stream>>>(args);
  RL_CUDA(cudaGetLastError());
  sum_kernel<<<grid_for(args.pairs.count, 128), 128, 0, stream>>>(args);
  RL_CUDA(cudaGetLastError());
}

}  // namespace rl
