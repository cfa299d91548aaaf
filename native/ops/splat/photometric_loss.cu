#include "native/backend/cuda/reduce.cuh"
#include "native/ops/splat/photometric_loss.h"

namespace rl {

namespace {

constexpr int kTile = 32, kTileRows = 16, kThreads = 256, kStep = kThreads / kTile;
constexpr int kRadius = kSsimRadius, kSpan = kTile + 2 * kRadius, kSpanRows = kTileRows + 2 * kRadius;

// The window, one side outermost first; symmetric in k.
__device__ __forceinline__ float tap(int k) {
  constexpr float taps[11] = {0.00102838008447911f, 0.007598758135239185f, 0.03600077212843083f, 0.10936068950970002f,
                              0.2130055377112537f,  0.26601172486179436f,  0.2130055377112537f,  0.10936068950970002f,
                              0.03600077212843083f, 0.007598758135239185f, 0.00102838008447911f};
  return taps[k];
}

struct TileAt {
  int64_t row, column, plane;
  int64_t index;  // in the order of the partial sums
};

// Blocks run over the tiles of all planes in one dimension.
__device__ __forceinline__ TileAt tile_at(const PhotometricLossArgs& a) {
  const int64_t across = (a.width + kTile - 1) / kTile, down = (a.height + kTileRows - 1) / kTileRows;
  const int64_t index = blockIdx.x;
  return {index / across % down * kTileRows, index % across * kTile, index / (across * down), index};
}

// Sum of 2 kRadius + 1 rows below `at` of a horizontally filtered tile.
__device__ __forceinline__ float filter_down(const float (*rows)[kTile], int row, int column) {
  float sum = 0;
#pragma unroll
  for (int k = 0; k <= 2 * kRadius; ++k) sum += tap(k) * rows[row + k][column];
  return sum;
}

__global__ void __launch_bounds__(kThreads) ssim_maps_kernel(PhotometricLossArgs a) {
  __shared__ float x[kSpanRows][kSpan], y[kSpanRows][kSpan], filtered[4][kSpanRows][kTile];
  const TileAt tile = tile_at(a);
  const int64_t pixels = a.height * a.width, base = tile.plane * pixels;
  for (int i = threadIdx.x; i < kSpanRows * kSpan; i += kThreads) {
    const int64_t row = tile.row + i / kSpan - kRadius, column = tile.column + i % kSpan - kRadius;
    float xi = 0, yi = 0;
    if (row >= 0 && row < a.height && column >= 0 && column < a.width) {
      const int64_t at = row * a.width + column;
      const float m = a.mask == nullptr ? 1.0f : a.mask[at];
      xi = a.image[base + at] * m;
      yi = a.target[base + at] * m;
    }
    x[i / kSpan][i % kSpan] = xi;
    y[i / kSpan][i % kSpan] = yi;
  }
  __syncthreads();
  for (int i = threadIdx.x; i < kSpanRows * kTile; i += kThreads) {
    const int row = i / kTile, column = i % kTile;
    float mx = 0, my = 0, square = 0, product = 0;
#pragma unroll
    for (int k = 0; k <= 2 * kRadius; ++k) {
      const float xi = x[row][column + k], yi = y[row][column + k], w = tap(k);
      mx += w * xi;
      my += w * yi;
      square += w * (xi * xi + yi * yi);
      product += w * (xi * yi);
    }
    filtered[0][row][column] = mx;
    filtered[1][row][column] = my;
    filtered[2][row][column] = square;
    filtered[3][row][column] = product;
  }
  __syncthreads();
  const int column = threadIdx.x % kTile;
  const int64_t count = a.planes * pixels;
  float sum = 0;
  for (int row = threadIdx.x / kTile; row < kTileRows; row += kStep) {
    if (tile.row + row >= a.height || tile.column + column >= a.width) continue;
    const float mx = filter_down(filtered[0], row, column), my = filter_down(filtered[1], row, column);
    const float square = filter_down(filtered[2], row, column), product = filter_down(filtered[3], row, column);
    const float power = mx * mx + my * my, cross = mx * my;
    const float a1 = 2 * cross + kSsimC1, a2 = 2 * (product - cross) + kSsimC2;
    const float b1 = power + kSsimC1, b2 = square - power + kSsimC2;
    const float inverse = 1 / (b1 * b2), s = a1 * a2 * inverse;
    const float g1 = 2 * my * a2 * inverse - 2 * mx * s / b1, g2 = -s / b2, g3 = 2 * a1 * inverse;
    const int64_t at = base + (tile.row + row) * a.width + tile.column + column;
    a.maps[at] = g1 - 2 * mx * g2 - my * g3;
    a.maps[count + at] = g2;
    a.maps[2 * count + at] = g3;
    sum += s;
  }
  sum = block_sum(sum);
  if (threadIdx.x == 0) a.partial[2 * tile.index + 1] = sum;
}

__global__ void __launch_bounds__(kThreads) gradient_kernel(PhotometricLossArgs a, float l1, float ssim) {
  __shared__ float maps[3][kSpanRows][kSpan], filtered[3][kSpanRows][kTile];
  const TileAt tile = tile_at(a);
  const int64_t pixels = a.height * a.width, base = tile.plane * pixels, count = a.planes * pixels;
  for (int i = threadIdx.x; i < kSpanRows * kSpan; i += kThreads) {
    const int64_t row = tile.row + i / kSpan - kRadius, column = tile.column + i % kSpan - kRadius;
    const bool inside = row >= 0 && row < a.height && column >= 0 && column < a.width;
    for (int k = 0; k < 3; ++k)
      maps[k][i / kSpan][i % kSpan] = inside ? a.maps[k * count + base + row * a.width + column] : 0.0f;
  }
  __syncthreads();
  for (int i = threadIdx.x; i < kSpanRows * kTile; i += kThreads) {
    const int row = i / kTile, column = i % kTile;
    float sums[3] = {};
#pragma unroll
    for (int k = 0; k <= 2 * kRadius; ++k)
#pragma unroll
      for (int map = 0; map < 3; ++map) sums[map] += tap(k) * maps[map][row][column + k];
#pragma unroll
    for (int map = 0; map < 3; ++map) filtered[map][row][column] = sums[map];
  }
  __syncthreads();
  const int column = threadIdx.x % kTile;
  float sum = 0;
  for (int row = threadIdx.x / kTile; row < kTileRows; row += kStep) {
    if (tile.row + row >= a.height || tile.column + column >= a.width) continue;
    const int64_t at = (tile.row + row) * a.width + tile.column + column;
    const float m = a.mask == nullptr ? 1.0f : a.mask[at];
    const float x = a.image[base + at] * m, y = a.target[base + at] * m, d = x - y;
    const float sign = d > 0 ? 1.0f : d < 0 ? -1.0f : d;
    const float slope = filter_down(filtered[0], row, column) + 2 * x * filter_down(filtered[1], row, column) +
                        y * filter_down(filtered[2], row, column);
    a.d_image[base + at] = m * (l1 * sign - ssim * slope);
    sum += fabsf(d);
  }
  sum = block_sum(sum);
  if (threadIdx.x == 0) a.partial[2 * tile.index] = sum;
}

// terms[k] = sum over parts / count, in an order that depends on the number of parts alone. One block.
__global__ void __launch_bounds__(kThreads) terms_kernel(const double* partial, int64_t parts, double inverse, float* terms) {
  __shared__ double sums[2][kThreads];
  for (int k = 0; k < 2; ++k) {
    double sum = 0;
    for (int64_t i = threadIdx.x; i < parts; i += kThreads) sum += partial[2 * i + k];
    sums[k][threadIdx.x] = sum;
  }
  for (int step = kThreads / 2; step > 0; step /= 2) {
    __syncthreads();
    if (static_cast<int>(threadIdx.x) >= step) continue;
    for (int k = 0; k < 2; ++k) sums[k][threadIdx.x] += sums[k][threadIdx.x + step];
  }
  if (threadIdx.x == 0)
    for (int k = 0; k < 2; ++k) terms[k] = static_cast<float>(sums[k][0] * inverse);
}

__global__ void empty_terms_kernel(float* terms) {
  terms[0] = 0;
  terms[1] = 1;
}

}  // namespace

void photometric_loss_cuda(const PhotometricLossArgs& a, cudaStream_t stream) {
  const int64_t parts = photometric_loss_parts(true, a.planes, a.height, a.width);
  if (parts == 0) {
    empty_terms_kernel<<<1, 1, 0, stream>>>(a.terms);
  } else {
    const double inverse = 1 / static_cast<double>(a.planes * a.height * a.width);
    const auto blocks = static_cast<unsigned>(parts);
    ssim_maps_kernel<<<blocks, kThreads, 0, stream>>>(a);
    gradient_kernel<<<blocks, kThreads, 0, stream>>>(a, static_cast<float>((1 - static_cast<double>(a.ssim_weight)) * inverse),
                                                     static_cast<float>(a.ssim_weight * inverse));
    terms_kernel<<<1, kThreads, 0, stream>>>(a.partial, parts, inverse, a.terms);
  }
  RL_CUDA(cudaGetLastError());
}

}  // namespace rl
