#include "native/ops/splat/blend_tile.cuh"
#include "native/ops/splat/splat_blend_backward.h"

namespace rl {

namespace {

constexpr int kBatch = 32;

__global__ void __launch_bounds__(kTilePixels) backward_kernel(SplatBlendBackwardArgs a) {
  __shared__ TileSplat batch[kBatch];
  __shared__ float partial[kBatch][kWarps][kMoments];
  __shared__ int32_t tile_last;
  const TilePixel pixel = tile_pixel(a.pairs, blockIdx.x);
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  int64_t begin, end;
  tile_pairs(a.pairs, blockIdx.x, begin, end);
  float transmittance = 1, behind = 0, gradient[3] = {0, 0, 0}, g_depth = 0;
  int32_t last = static_cast<int32_t>(begin);
  if (pixel.inside) {
    transmittance = a.transmittance[pixel.index];
    last = static_cast<int32_t>(min(int64_t{a.last[pixel.index]}, end));
#pragma unroll
    for (int c = 0; c < 3; ++c) {
      gradient[c] = a.d_image[c * a.pairs.width * a.pairs.height + pixel.index];
      behind += gradient[c] * a.background[c];
    }
    // Each Gaussian adds g_alpha to its value and the background adds none: only the difference matters.
    if (a.d_alpha) behind -= a.d_alpha[pixel.index];
    if (a.d_depth) g_depth = a.d_depth[pixel.index];
  }
  if (threadIdx.x == 0) tile_last = static_cast<int32_t>(begin);
  __syncthreads();
  atomicMax(&tile_last, last);  // of integers: the same in any order
  __syncthreads();
  const int64_t walk_end = tile_last;

  // Where lane l's value lies after the exchanges below: bits 16, 8, 4, 2 of the lane choose halves of 10, 5, 3, 2
  // values.
  const int half = lane >> 4 & 1, quarter = lane >> 3 & 1, eighth = lane >> 2 & 1, sixteenth = lane >> 1 & 1;
  const int in_five = quarter * 3 + eighth * 2 + sixteenth;
  const bool owner = lane % 2 == 0 && eighth * 2 + sixteenth < 3 && in_five < 5;
  const int moment = half * 5 + in_five;

  for (int64_t stop = walk_end; stop > begin; stop -= kBatch) {
    const int64_t first = max(begin, stop - kBatch);
    const int count = static_cast<int>(stop - first);
    __syncthreads();  // the batch and the sums before are done with
    if (threadIdx.x < count) batch[threadIdx.x] = load_splat(a.pairs, first + threadIdx.x);
    __syncthreads();
    for (int k = count - 1; k >= 0; --k) {
      const TileSplat& g = batch[k];
      Reach at;
      const bool counts = first + k < last && reach(g, pixel.x, pixel.y, at);
      if (!__any_sync(0xFFFFFFFFu, counts)) {
        if (lane < kMoments) partial[k][warp][lane] = 0;
        continue;
      }
      float v[kMoments] = {};
      if (counts) {
        transmittance = transmittance / (1.0f - at.alpha);
        const float weight = at.alpha * transmittance;
        float value = g_depth * g.z;
#pragma unroll
        for (int c = 0; c < 3; ++c) {
          value += gradient[c] * g.colour[c];
          v[c] = weight * gradient[c];
        }
        v[3] = weight * g_depth;
        const float step = value - behind;
        behind += at.alpha * step;
        const float q = at.raw > kMaxAlpha ? 0.0f : weight * step;  // a clamped alpha does not move with its Gaussian
        v[4] = q;
        v[5] = q * at.dx;
        v[6] = v[5] * at.dx;
        v[7] = q * at.dy;
        v[8] = v[5] * at.dy;
        v[9] = v[7] * at.dy;
      }
      exchange<10, 16>(v, half);
      exchange<5, 8>(v, quarter);
      exchange<3, 4>(v, eighth);
      exchange<2, 2>(v, sixteenth);
      v[0] += __shfl_xor_sync(0xFFFFFFFFu, v[0], 1);
      if (owner) partial[k][warp][moment] = v[0];
    }
    __syncthreads();
    for (int i = threadIdx.x; i < count * kMoments; i += kTilePixels) {
      float sum = 0;
#pragma unroll
      for (int w = 0; w < kWarps; ++w) sum += partial[i / kMoments][w][i % kMoments];
      const int32_t slot = a.slots[first + i / kMoments];
      if (slot >= 0 && slot < a.pairs.pairs) a.moments[int64_t{slot} * kMoments + i % kMoments] = sum;
    }
  }
  for (int64_t i = threadIdx.x; i < (end - walk_end) * kMoments; i += kTilePixels) {
    const int32_t slot = a.slots[walk_end + i / kMoments];
    if (slot >= 0 && slot < a.pairs.pairs) a.moments[int64_t{slot} * kMoments + i % kMoments] = 0;
  }
}

__global__ void sum_kernel(SplatBlendBackwardArgs a) {
  const int64_t stride = int64_t{gridDim.x} * blockDim.x;
  for (int64_t i = blockIdx.x * int64_t{blockDim.x} + threadIdx.x; i < a.pairs.count; i += stride) {
    float sums[kMoments] = {}, out[kGradientColumns];
    const int64_t end = min(int64_t{a.offsets[i + 1]}, a.pairs.pairs);
    for (int64_t p = max(int64_t{a.offsets[i]}, int64_t{0}); p < end; ++p) {
#pragma unroll
      for (int k = 0; k < kMoments; ++k) sums[k] += a.moments[p * kMoments + k];
    }
    gradients_of_moments(a.pairs.projected + i * kProjectedColumns, sums, out);
#pragma unroll
    for (int k = 0; k < kGradientColumns; ++k) a.d_projected[i * kGradientColumns + k] = out[k];
  }
}

}  // namespace

void splat_blend_backward_cuda(const SplatBlendBackwardArgs& args, cudaStream_t stream) {
  const int64_t tiles = tiles_along(args.pairs.width) * tiles_along(args.pairs.height);
  backward_kernel<<<static_cast<unsigned>(tiles), kTilePixels, 0, stream>>>(args);
  RL_CUDA(cudaGetLastError());
  sum_kernel<<<grid_for(args.pairs.count, 128), 128, 0, stream>>>(args);
  RL_CUDA(cudaGetLastError());
}

}  // namespace rl
