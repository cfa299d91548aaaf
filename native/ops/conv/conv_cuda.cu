#include "native/ops/conv/conv_cuda.h"

#include <mma.h>

#include <limits>

#include "native/backend/cuda/reduce.cuh"
#include "native/backend/cuda/types.cuh"

namespace rl::cuda {

namespace {

constexpr int kTile = 64, kDepth = 32, kThreads = 256;

// Sizes as the kernels use them: every index of rows, columns and depth fits an int (checked), offsets do not.
struct Sizes {
  int in_channels, in_h, in_w, out_channels, out_h, out_w, kernel_h, kernel_w, stride, pad_top, pad_left;
};

// The three products C[m, n] = sum_k A[m, k] B[k, n]. `Column` holds what depends on n alone, computed once per thread.

// Forward: rows are output channels, columns (batch, pixel) of y, k = (channel, u, v).
template <class T>
struct Forward {
  Sizes s;
  const T *x, *w, *bias;
  T* y;
  int m, n, k;

  struct Column {
    const T* image;
    int row, column;
  };
  __device__ Column column(int j) const {
    const int pixels = s.out_h * s.out_w, b = j / pixels, p = j % pixels;
    return {x + int64_t{b} * s.in_channels * s.in_h * s.in_w, p / s.out_w * s.stride - s.pad_top,
            p % s.out_w * s.stride - s.pad_left};
  }
  __device__ T a(int i, int p) const { return w[int64_t{i} * k + p]; }
  __device__ T b(int p, const Column& c) const {
    const int taps = s.kernel_h * s.kernel_w, channel = p / taps, tap = p % taps;
    const int row = c.row + tap / s.kernel_w, column = c.column + tap % s.kernel_w;
    if (row < 0 || row >= s.in_h || column < 0 || column >= s.in_w) return from_f32<T>(0);
    return c.image[(int64_t{channel} * s.in_h + row) * s.in_w + column];
  }
  __device__ void store(int i, int j, int, float sum) const {
    const int pixels = s.out_h * s.out_w;
    y[(int64_t{j / pixels} * s.out_channels + i) * pixels + j % pixels] =
        from_f32<T>(bias ? sum + to_f32(bias[i]) : sum);
  }
};

// Gradient of the input: rows are input channels, columns (batch, pixel) of x, k = (output channel, u, v).
template <class T>
struct InputGrad {
  Sizes s;
  const T *dy, *w, *bias;
  T* dx;
  int m, n, k;

  struct Column {
    const T* image;
    int row, column;  // of the padded input
  };
  __device__ Column column(int j) const {
    const int pixels = s.in_h * s.in_w, b = j / pixels, p = j % pixels;
    return {dy + int64_t{b} * s.out_channels * s.out_h * s.out_w, p / s.in_w + s.pad_top, p % s.in_w + s.pad_left};
  }
  __device__ T a(int i, int p) const {
    const int taps = s.kernel_h * s.kernel_w;
    return w[(int64_t{p / taps} * s.in_channels + i) * taps + p % taps];
  }
  __device__ T b(int p, const Column& c) const {
    const int taps = s.kernel_h * s.kernel_w, channel = p / taps, tap = p % taps;
    const int row = c.row - tap / s.kernel_w, column = c.column - tap % s.kernel_w;
    if (row < 0 || column < 0 || row % s.stride != 0 || column % s.stride != 0) return from_f32<T>(0);
    const int i = row / s.stride, j = column / s.stride;
    if (i >= s.out_h || j >= s.out_w) return from_f32<T>(0);
    return c.image[(int64_t{channel} * s.out_h + i) * s.out_w + j];
  }
  __device__ void store(int i, int j, int, float sum) const {
    const int pixels = s.in_h * s.in_w;
    dx[(int64_t{j / pixels} * s.in_channels + i) * pixels + j % pixels] =
        from_f32<T>(bias ? sum + to_f32(bias[i]) : sum);
  }
};

// Gradient of the weight: rows are output channels, columns (channel, u, v), k = (batch, pixel) of y.
template <class T>
struct WeightGrad {
  Sizes s;
  const T *dy, *x;
  float* partial;
  int m, n, k;

  struct Column {
    int channel, u, v;
  };
  __device__ Column column(int j) const {
    const int taps = s.kernel_h * s.kernel_w, tap = j % taps;
    return {j / taps, tap / s.kernel_w - s.pad_top, tap % s.kernel_w - s.pad_left};
  }
  __device__ T a(int i, int p) const {
    const int pixels = s.out_h * s.out_w;
    return dy[(int64_t{p / pixels} * s.out_channels + i) * pixels + p % pixels];
  }
  __device__ T b(int p, const Column& c) const {
    const int pixels = s.out_h * s.out_w, q = p % pixels;
    const int row = q / s.out_w * s.stride + c.u, column = q % s.out_w * s.stride + c.v;
    if (row < 0 || row >= s.in_h || column < 0 || column >= s.in_w) return from_f32<T>(0);
    return x[((int64_t{p / pixels} * s.in_channels + c.channel) * s.in_h + row) * s.in_w + column];
  }
  __device__ void store(int i, int j, int part, float sum) const { partial[(int64_t{part} * m + i) * n + j] = sum; }
};

// Tiles in shared memory. The padding keeps neighbouring rows in different banks, and every 16 x 16 part starts at a
// multiple of 32 bytes, as the tensor-core loads need.
template <class T>
struct alignas(32) Tiles {
  T a[kTile][kDepth + 8];  // [row][k]
  T b[kDepth][kTile + 8];  // [k][column]
};
constexpr int kSumStride = kTile + 4;

// sums[64][kSumStride] in shared memory += the tiles' product; registers in between are in `acc`.
struct F32Product {
  float acc[4][4] = {};
  __device__ void step(const Tiles<float>& tiles) {
    const int row = threadIdx.x / 16 * 4, column = threadIdx.x % 16 * 4;
#pragma unroll 8
    for (int p = 0; p < kDepth; ++p) {
      float left[4], right[4];
      for (int i = 0; i < 4; ++i) left[i] = tiles.a[row + i][p];
      for (int j = 0; j < 4; ++j) right[j] = tiles.b[p][column + j];
      for (int i = 0; i < 4; ++i)
        for (int j = 0; j < 4; ++j) acc[i][j] += left[i] * right[j];
    }
  }
  __device__ void write(float* sums) const {
    const int row = threadIdx.x / 16 * 4, column = threadIdx.x % 16 * 4;
    for (int i = 0; i < 4; ++i)
      for (int j = 0; j < 4; ++j) sums[(row + i) * kSumStride + column + j] = acc[i][j];
  }
};

// Eight warps: warp w owns rows 16 (w / 2) and columns 32 (w % 2), two 16 x 16 tensor-core tiles.
struct Bf16Product {
  nvcuda::wmma::fragment<nvcuda::wmma::accumulator, 16, 16, 16, float> acc[2];
  __device__ Bf16Product() {
    for (auto& part : acc) nvcuda::wmma::fill_fragment(part, 0.0f);
  }
  __device__ void step(const Tiles<__nv_bfloat16>& tiles) {
    using namespace nvcuda::wmma;
    const int row = threadIdx.x / 64 * 16, column = threadIdx.x / 32 % 2 * 32;
    for (int p = 0; p < kDepth; p += 16) {
      fragment<matrix_a, 16, 16, 16, __nv_bfloat16, row_major> left;
      load_matrix_sync(left, &tiles.a[row][p], kDepth + 8);
      for (int j = 0; j < 2; ++j) {
        fragment<matrix_b, 16, 16, 16, __nv_bfloat16, row_major> right;
        load_matrix_sync(right, &tiles.b[p][column + 16 * j], kTile + 8);
        mma_sync(acc[j], left, right, acc[j]);
      }
    }
  }
  __device__ void write(float* sums) const {
    const int row = threadIdx.x / 64 * 16, column = threadIdx.x / 32 % 2 * 32;
    for (int j = 0; j < 2; ++j)
      nvcuda::wmma::store_matrix_sync(sums + row * kSumStride + column + 16 * j, acc[j], kSumStride,
          nvcuda::wmma::mem_row_major);
  }
};

template <class T>
struct ProductOf {
  using type = F32Product;
};
template <>
struct ProductOf<__nv_bfloat16> {
  using type = Bf16Product;
};

// Grid: (column tiles, row tiles, parts of k).
template <class T, class Problem>
__global__ void __launch_bounds__(kThreads) product_kernel(Problem p) {
  __shared__ union Shared {
    Tiles<T> tiles;
    float sums[kTile * kSumStride];
    __device__ Shared() {}
  } shared;
  const int row0 = blockIdx.y * kTile, column0 = blockIdx.x * kTile;
  const int first = static_cast<int>(int64_t{p.k} * blockIdx.z / gridDim.z);
  const int last = static_cast<int>(int64_t{p.k} * (blockIdx.z + 1) / gridDim.z);
  // Each thread gathers one column of B (8 values of k) and a quarter row of A per step.
  const int my_column = column0 + static_cast<int>(threadIdx.x % kTile), my_depth = threadIdx.x / kTile * 8;
  const int my_row = row0 + static_cast<int>(threadIdx.x / 4), my_k = threadIdx.x % 4 * 8;
  const auto column = p.column(min(my_column, p.n - 1));
  typename ProductOf<T>::type product;
  for (int k0 = first; k0 < last; k0 += kDepth) {
    for (int i = 0; i < 8; ++i) {
      const int at = k0 + my_k + i;
      shared.tiles.a[threadIdx.x / 4][my_k + i] = my_row < p.m && at < last ? p.a(my_row, at) : from_f32<T>(0);
    }
    for (int i = 0; i < 8; ++i) {
      const int at = k0 + my_depth + i;
      shared.tiles.b[my_depth + i][threadIdx.x % kTile] = my_column < p.n &&
          at < last ? p.b(at, column) : from_f32<T>(0);
    }
    __syncthreads();
    product.step(shared.tiles);
    __syncthreads();
  }
  product.write(shared.sums);
  __syncthreads();
  for (int i = threadIdx.x; i < kTile * kTile; i += kThreads) {
    const int row = row0 + i / kTile, at = column0 + i % kTile;
    if (row < p.m && at < p.n) p.store(row, at, blockIdx.z, shared.sums[i / kTile * kSumStride + i % kTile]);
  }
}

template <class T, class Problem>
void launch(const Problem& p, int64_t parts, cudaStream_t stream) {
  const dim3 grid(static_cast<unsigned>((p.n + kTile - 1) / kTile), static_cast<unsigned>((p.m + kTile - 1) / kTile),
                  static_cast<unsigned>(parts));
  product_kernel<T><<<grid, kThreads, 0, stream>>>(p);
  RL_CUDA(cudaGetLastError());
}

int narrow(int64_t value) {
  RL_CHECK(value <= std::numeric_limits<int>::max() - kTile, code::kShape, "conv2d: ", value,
           " pixels in one call are too many for CUDA; use a smaller batch");
  return static_cast<int>(value);
}

Sizes narrow(const cpu::ConvShape& s) {
  return {narrow(s.in_channels), narrow(s.in_h), narrow(s.in_w), narrow(s.out_channels), narrow(s.out_h),
      narrow(s.out_w),
          narrow(s.kernel_h), narrow(s.kernel_w), narrow(s.stride), narrow(s.pad_top), narrow(s.pad_left)};
}

template <class T>
__global__ void channel_sums_kernel(const T* __restrict__ x, T* __restrict__ out, int64_t batch, int64_t channels,
    int64_t pixels) {
  float sum = 0;
  for (int64_t b = 0; b < batch; ++b) {
    const T* plane = x + (b * channels + blockIdx.x) * pixels;
    float part = 0;
    for (int64_t i = threadIdx.x; i < pixels; i += blockDim.x) part += to_f32(plane[i]);
    sum += part;
  }
  sum = block_sum(sum);
  if (threadIdx.x == 0) out[blockIdx.x] = from_f32<T>(sum);
}

}  // namespace

void conv_forward(const cpu::ConvShape& s, DType dtype, const void* x, const void* w, const void* bias, void* y,
    cudaStream_t stream) {
  if (s.batch * s.out_channels * s.out_h * s.out_w == 0) return;
  RL_DISPATCH_CUDA(dtype, T, {
    const Forward<T> p{narrow(s), static_cast<const T*>(x), static_cast<const T*>(w), static_cast<const T*>(bias),
                       static_cast<T*>(y), narrow(s.out_channels), narrow(s.batch * s.out_h * s.out_w),
                       narrow(s.in_channels * s.kernel_h * s.kernel_w)};
    launch<T>(p, 1, stream);
  });
}

void conv_input_grad(const cpu::ConvShape& s, DType dtype, const void* dy, const void* w, const void* bias, void* dx,
                     cudaStream_t stream) {
  if (s.batch * s.in_channels * s.in_h * s.in_w == 0) return;
  RL_DISPATCH_CUDA(dtype, T, {
    const InputGrad<T> p{narrow(s), static_cast<const T*>(dy), static_cast<const T*>(w), static_cast<const T*>(bias),
                         static_cast<T*>(dx), narrow(s.in_channels), narrow(s.batch * s.in_h * s.in_w),
                         narrow(s.out_channels * s.kernel_h * s.kernel_w)};
    launch<T>(p, 1, stream);
  });
}

void conv_weight_grad(const cpu::ConvShape& s, DType dtype, const void* x, const void* dy, void* dw, float* partial,
                      int64_t parts, cudaStream_t stream) {
  const int64_t size = s.out_channels * s.in_channels * s.kernel_h * s.kernel_w;
  if (size == 0) return;
  RL_DISPATCH_CUDA(dtype, T, {
    const WeightGrad<T> p{narrow(s), static_cast<const T*>(dy), static_cast<const T*>(x), partial,
        narrow(s.out_channels),
                          narrow(s.in_channels * s.kernel_h * s.kernel_w), narrow(s.batch * s.out_h * s.out_w)};
    launch<T>(p, parts, stream);
    sum_partials<T>(partial, static_cast<T*>(dw), parts, size, stream);
  });
}

void channel_sums(int64_t batch, int64_t channels, int64_t pixels, DType dtype, const void* x, void* out,
    cudaStream_t stream) {
  if (channels == 0) return;
  RL_DISPATCH_CUDA(dtype, T, {
    channel_sums_kernel<T><<<static_cast<unsigned>(channels), 1024, 0,
        stream>>>(static_cast<const T*>(x), static_cast<T*>(out),
                                                                                 batch, channels, pixels);
  });
  RL_CUDA(cudaGetLastError());
}

}  // namespace rl::cuda
