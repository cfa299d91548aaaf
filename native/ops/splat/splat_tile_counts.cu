#include <cub/device/device_scan.cuh>

#include "native/backend/cuda/types.cuh"
#include "native/ops/splat/splat_tile_counts.h"

namespace rl {

namespace {

__global__ void count_kernel(SplatTileCountsArgs a) {
  for (int64_t i = blockIdx.x * int64_t{blockDim.x} + threadIdx.x; i <= a.count; i += int64_t{gridDim.x} * blockDim.x)
    a.sums[i] = i < a.count ? tile_rect(a.projected + i * kProjectedColumns, a.tiles_x, a.tiles_y).count() : 0;
}

__global__ void narrow_kernel(SplatTileCountsArgs a) {
  for (int64_t i = blockIdx.x * int64_t{blockDim.x} + threadIdx.x; i <= a.count; i += int64_t{gridDim.x} * blockDim.x) {
    a.offsets[i] = static_cast<int32_t>(a.sums[i]);
    if (i == a.count) a.total[0] = a.sums[i] > INT32_MAX ? -1 : static_cast<int32_t>(a.sums[i]);
  }
}

}  // namespace

size_t splat_tile_counts_scratch(int64_t count) {
  size_t bytes = 0;
  RL_CUDA(cub::DeviceScan::ExclusiveSum(nullptr, bytes, static_cast<int64_t*>(nullptr), static_cast<int64_t*>(nullptr),
                                        count + 1));
  return bytes;
}

void splat_tile_counts_cuda(const SplatTileCountsArgs& args, cudaStream_t stream) {
  count_kernel<<<grid_for(args.count + 1, 256), 256, 0, stream>>>(args);
  RL_CUDA(cudaGetLastError());
  size_t bytes = args.scratch_bytes;
  RL_CUDA(cub::DeviceScan::ExclusiveSum(args.scratch, bytes, args.sums, args.sums, args.count + 1, stream));
  narrow_kernel<<<grid_for(args.count + 1, 256), 256, 0, stream>>>(args);
  RL_CUDA(cudaGetLastError());
}

}  // namespace rl
