#include "native/backend/cuda/reduce.cuh"
#include "native/backend/cuda/types.cuh"
#include "native/ops/conv/group_norm.h"

namespace rl {

namespace {

__device__ float silu_grad(float z) {
  const float s = 1.0f / (1.0f + expf(-z));
  return s * (1.0f + z * (1.0f - s));
}

// One block per (b, c): the channel's mean and sum of squared deviations.
template <class T>
__global__ void channel_stats_kernel(const T* __restrict__ x, float* __restrict__ partial, int64_t rows,
    int64_t pixels) {
  const T* plane = x + blockIdx.x * pixels;
  float sum = 0, square = 0;
  for (int64_t i = threadIdx.x; i < pixels; i += blockDim.x) sum += to_f32(plane[i]);
  const float mean = block_sum(sum) / static_cast<float>(pixels);
  for (int64_t i = threadIdx.x; i < pixels; i += blockDim.x) {
    const float d = to_f32(plane[i]) - mean;
    square += d * d;
  }
  square = block_sum(square);
  if (threadIdx.x == 0) partial[blockIdx.x] = mean, partial[rows + blockIdx.x] = square;
}

// One thread per (b, group): channels joined in order (Chan, Golub & LeVeque 1983, equal counts).
__global__ void group_stats_kernel(const float* __restrict__ partial, float* __restrict__ stats, int64_t rows,
    int64_t groups,
                                   int64_t width, int64_t pixels, double eps) {
  const int64_t group = blockIdx.x * int64_t{blockDim.x} + threadIdx.x;
  if (group >= groups) return;
  double mean = 0, square = 0;
  for (int64_t c = group * width; c < (group + 1) * width; ++c) mean += partial[c];
  mean /= static_cast<double>(width);
  for (int64_t c = group * width; c < (group + 1) * width; ++c) {
    const double d = partial[c] - mean;
    square += partial[rows + c] + static_cast<double>(pixels) * d * d;
  }
  stats[2 * group] = static_cast<float>(mean);
  stats[2 * group + 1] = static_cast<float>(1.0 / sqrt(square / static_cast<double>(width * pixels) + eps));
}

// Grid: (b c, chunks of pixels).
template <class T>
__global__ void apply_kernel(const T* __restrict__ x, const T* __restrict__ weight, const T* __restrict__ bias,
                             const float* __restrict__ stats, T* __restrict__ y, int64_t channels, int64_t width,
                             int64_t pixels, bool silu) {
  const int64_t row = blockIdx.x, c = row % channels;
  const float mean = stats[row / width * 2], scale = stats[row / width * 2 + 1] * to_f32(weight[c]),
      shift = to_f32(bias[c]);
  for (int64_t i = blockIdx.y * int64_t{blockDim.x} + threadIdx.x; i < pixels; i += int64_t{gridDim.y} * blockDim.x) {
    const float z = (to_f32(x[row * pixels + i]) - mean) * scale + shift;
    y[row * pixels + i] = from_f32<T>(silu ? z / (1.0f + expf(-z)) : z);
  }
}

// One block per (b, c): partial[0] = sum dz x̂, partial[1] = sum dz.
template <class T>
__global__ void channel_grads_kernel(const T* __restrict__ dy, const T* __restrict__ x, const T* __restrict__ weight,
                                     const T* __restrict__ bias, const float* __restrict__ stats,
                                         float* __restrict__ partial,
                                     int64_t rows, int64_t channels, int64_t width, int64_t pixels, bool silu) {
  const int64_t row = blockIdx.x, c = row % channels;
  const float mean = stats[row / width * 2], rstd = stats[row / width * 2 + 1];
  const float gamma = to_f32(weight[c]), beta = to_f32(bias[c]);
  float sum = 0, product = 0;
  for (int64_t i = threadIdx.x; i < pixels; i += blockDim.x) {
    const float hat = (to_f32(x[row * pixels + i]) - mean) * rstd;
    float dz = to_f32(dy[row * pixels + i]);
    if (silu) dz *= silu_grad(hat * gamma + beta);
    sum += dz;
    product += dz * hat;
  }
  sum = block_sum(sum);
  product = block_sum(product);
  if (threadIdx.x == 0) partial[row] = product, partial[rows + row] = sum;
}

// Grid: (b c, chunks of pixels).
template <class T>
__global__ void input_grad_kernel(const T* __restrict__ dy, const T* __restrict__ x, const T* __restrict__ weight,
                                  const T* __restrict__ bias, const float* __restrict__ stats,
                                      const float* __restrict__ partial,
                                  T* __restrict__ dx, int64_t rows, int64_t channels, int64_t width, int64_t pixels,
                                      bool silu) {
  const int64_t row = blockIdx.x, c = row % channels, first = row / width * width;
  const float mean = stats[row / width * 2], rstd = stats[row / width * 2 + 1];
  const float gamma = to_f32(weight[c]), beta = to_f32(bias[c]);
  float along = 0, shift = 0;
  for (int64_t r = first; r < first + width; ++r) {
    const float g = to_f32(weight[r % channels]);
    along += g * partial[r];
    shift += g * partial[rows + r];
  }
  const float inverse = 1.0f / static_cast<float>(width * pixels);
  along *= inverse;
  shift *= inverse;
  for (int64_t i = blockIdx.y * int64_t{blockDim.x} + threadIdx.x; i < pixels; i += int64_t{gridDim.y} * blockDim.x) {
    const float hat = (to_f32(x[row * pixels + i]) - mean) * rstd;
    float dz = to_f32(dy[row * pixels + i]);
    if (silu) dz *= silu_grad(hat * gamma + beta);
    dx[row * pixels + i] = from_f32<T>(rstd * (dz * gamma - shift - hat * along));
  }
}

dim3 pixel_grid(int64_t rows, int64_t pixels) {
  const int64_t chunks = (pixels + 4095) / 4096;
  return {static_cast<unsigned>(rows), static_cast<unsigned>(chunks < 1 ? 1 : chunks > 64 ? 64 : chunks)};
}

}  // namespace

void group_norm_cuda(const GroupNormArgs& a, cudaStream_t stream) {
  const int64_t rows = a.batch * a.channels, width = a.channels / a.groups, groups = a.batch * a.groups;
  if (rows == 0 || a.pixels == 0) return;
  RL_DISPATCH_CUDA(a.dtype, T, {
    channel_stats_kernel<T><<<static_cast<unsigned>(rows), row_threads(a.pixels), 0,
        stream>>>(static_cast<const T*>(a.x), a.partial,
                                                                                              rows, a.pixels);
    group_stats_kernel<<<static_cast<unsigned>((groups + 127) / 128), 128, 0,
        stream>>>(a.partial, a.stats, rows, groups, width,
                                                                                       a.pixels, a.eps);
    apply_kernel<T><<<pixel_grid(rows, a.pixels), 256, 0, stream>>>(
        static_cast<const T*>(a.x), static_cast<const T*>(a.weight), static_cast<const T*>(a.bias), a.stats,
            static_cast<T*>(a.y),
        a.channels, width, a.pixels, a.silu);
  });
  RL_CUDA(cudaGetLastError());
}

void group_norm_bwd_cuda(const GroupNormBwdArgs& a, cudaStream_t stream) {
  const int64_t rows = a.batch * a.channels, width = a.channels / a.groups;
  if (a.channels == 0) return;
  RL_DISPATCH_CUDA(a.dtype, T, {
    const T* dy = static_cast<const T*>(a.dy);
    const T* x = static_cast<const T*>(a.x);
    const T* weight = static_cast<const T*>(a.weight);
    const T* bias = static_cast<const T*>(a.bias);
    const int64_t batch = a.pixels == 0 ? 0 : a.batch;
    if (batch > 0) {
      channel_grads_kernel<T><<<static_cast<unsigned>(rows), row_threads(a.pixels), 0, stream>>>(
          dy, x, weight, bias, a.stats, a.partial, rows, a.channels, width, a.pixels, a.silu);
      input_grad_kernel<T><<<pixel_grid(rows, a.pixels), 256, 0, stream>>>(dy, x, weight, bias, a.stats, a.partial,
                                                                           static_cast<T*>(a.dx), rows, a.channels,
                                                                               width,
                                                                           a.pixels, a.silu);
      RL_CUDA(cudaGetLastError());
    }
    if (a.dweight != nullptr) {
      sum_partials<T>(a.partial, static_cast<T*>(a.dweight), batch, a.channels, stream);
      sum_partials<T>(a.partial + rows, static_cast<T*>(a.dbias), batch, a.channels, stream);
    }
  });
}

}  // namespace rl
