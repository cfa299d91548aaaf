#include "native/backend/cuda/types.cuh"
#include "native/ops/elem/permute.h"

namespace rl {

namespace {

constexpr int kTile = 32;

template <class T>
__global__ void gather_kernel(const T* __restrict__ x, T* __restrict__ y, PermuteArgs a) {
  for (int64_t i = blockIdx.x * int64_t{blockDim.x} + threadIdx.x; i < a.count; i += int64_t{gridDim.x} * blockDim.x) {
    int64_t rest = i, at = 0;
    for (int d = a.rank - 1; d > 0; --d) {
      at += rest % a.size[d] * a.step_x[d];
      rest /= a.size[d];
    }
    y[i] = x[at + rest * a.step_x[0]];
  }
}

// x's last dimension (`fast`) and y's last one trade places: a tile goes through shared memory, so that reads and writes
// are both contiguous. The column of padding keeps a warp's column on 32 different banks.
template <class T>
__global__ void transpose_kernel(const T* __restrict__ x, T* __restrict__ y, PermuteArgs a, int fast, int64_t tile_rows,
                                 int64_t tile_columns, int64_t tiles) {
  __shared__ T tile[kTile][kTile + 1];
  const int last = a.rank - 1;
  for (int64_t task = blockIdx.x; task < tiles; task += gridDim.x) {
    const int64_t column = task % tile_columns * kTile, row = task / tile_columns % tile_rows * kTile;
    int64_t rest = task / tile_columns / tile_rows, at_x = 0, at_y = 0;
    for (int d = last - 1; d >= 0; --d) {
      if (d == fast) continue;
      at_x += rest % a.size[d] * a.step_x[d];
      at_y += rest % a.size[d] * a.step_y[d];
      rest /= a.size[d];
    }
    __syncthreads();  // the tile of the previous task may still be read
    for (int k = threadIdx.y; k < kTile; k += blockDim.y) {
      const int64_t c = column + k, r = row + threadIdx.x;
      if (c < a.size[last] && r < a.size[fast]) tile[k][threadIdx.x] = x[at_x + c * a.step_x[last] + r];
    }
    __syncthreads();
    for (int k = threadIdx.y; k < kTile; k += blockDim.y) {
      const int64_t r = row + k, c = column + threadIdx.x;
      if (c < a.size[last] && r < a.size[fast]) y[at_y + r * a.step_y[fast] + c] = tile[threadIdx.x][k];
    }
  }
}

template <class T>
void run(const PermuteArgs& a, cudaStream_t stream) {
  const T* x = static_cast<const T*>(a.x);
  T* y = static_cast<T*>(a.y);
  int fast = 0;
  while (a.step_x[fast] != 1) ++fast;
  if (fast == a.rank - 1) {
    gather_kernel<T><<<grid_for(a.count, 256), 256, 0, stream>>>(x, y, a);
  } else {
    const int64_t rows = a.size[fast], columns = a.size[a.rank - 1];
    const int64_t tile_rows = (rows + kTile - 1) / kTile, tile_columns = (columns + kTile - 1) / kTile;
    const int64_t tiles = a.count / (rows * columns) * tile_rows * tile_columns;
    transpose_kernel<T><<<grid_for(tiles, 1), dim3(kTile, 8), 0, stream>>>(x, y, a, fast, tile_rows, tile_columns, tiles);
  }
  RL_CUDA(cudaGetLastError());
}

}  // namespace

void permute_cuda(const PermuteArgs& args, cudaStream_t stream) {
  switch (args.element_bytes) {
    case 1: return run<uint8_t>(args, stream);
    case 2: return run<uint16_t>(args, stream);
    case 4: return run<uint32_t>(args, stream);
    default: return run<uint64_t>(args, stream);
  }
}

}  // namespace rl
