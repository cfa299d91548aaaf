#include "native/ops/nn/norm_rows.h"
#include "native/ops/nn/rows.cuh"

namespace rl {

namespace {

using namespace rl::rows;

// A row in registers, or read again when it is too long for them.
template <class T, int N, bool kCached>
struct Row {
  const T* from;
  float kept[kCached ? kPacks : 1][N];

  __device__ __forceinline__ void fetch(int p, int64_t at) {
    load<T, N>(from + at * N, kept[kCached ? p : 0]);
  }
  // The values of a pack fetched before.
  __device__ __forceinline__ const float (&again(int p, int64_t at))[N] {
    if constexpr (!kCached) load<T, N>(from + at * N, kept[0]);
    return kept[kCached ? p : 0];
  }
};

template <class T, int N, bool kCached>
__device__ __forceinline__ float2 moments(Row<T, N, kCached>& row, int64_t packs, float eps) {
  float sum = 0;
  each_pack<kCached>(packs, [&](int p, int64_t at) {
    row.fetch(p, at);
#pragma unroll
    for (int i = 0; i < N; ++i) sum += row.kept[kCached ? p : 0][i];
  });
  const float count = static_cast<float>(packs * N);
  const float mean = team_sum(sum) / count;
  float square = 0;
  each_pack<kCached>(packs, [&](int p, int64_t at) {
    const auto& v = row.again(p, at);
#pragma unroll
    for (int i = 0; i < N; ++i) square += (v[i] - mean) * (v[i] - mean);
  });
  return make_float2(mean, 1.0f / sqrtf(team_sum(square) / count + eps));
}

template <class T, int N>
__device__ __forceinline__ void load_gain(const T* gain, int64_t at, float offset, float (&out)[N]) {
  if (gain == nullptr) {
#pragma unroll
    for (int i = 0; i < N; ++i) out[i] = 1;
    return;
  }
  load<T, N>(gain + at * N, out);
#pragma unroll
  for (int i = 0; i < N; ++i) out[i] += offset;
}

template <class T, int N, bool kCached>
__global__ void __launch_bounds__(512)
    norm_rows_kernel(const T* __restrict__ x, const T* __restrict__ gain, const T* __restrict__ shift, T* __restrict__ y,
                     int64_t groups, int64_t rows, int64_t dim, float gain_offset, float eps) {
  const int64_t row = team_row();
  if (row >= groups * rows) return;
  const int64_t packs = dim / N, group = row / rows;
  Row<T, N, kCached> in;
  in.from = x + row * dim;
  const float2 m = moments(in, packs, eps);
  each_pack<kCached>(packs, [&](int p, int64_t at) {
    const auto& v = in.again(p, at);
    float g[N], out[N], s[N] = {};
    load_gain<T, N>(gain == nullptr ? nullptr : gain + group * dim, at, gain_offset, g);
    if (shift != nullptr) load<T, N>(shift + group * dim + at * N, s);
#pragma unroll
    for (int i = 0; i < N; ++i) out[i] = (v[i] - m.x) * m.y * g[i] + s[i];
    store<T, N>(y + row * dim + at * N, out);
  });
}

// dx of a row, and its mean and 1/sqrt(var + eps) for the column sums.
template <class T, int N, bool kCached>
__global__ void __launch_bounds__(512)
    norm_rows_bwd_kernel(const T* __restrict__ dy, const T* __restrict__ x, const T* __restrict__ gain, T* __restrict__ dx,
                         float2* __restrict__ stats, int64_t groups, int64_t rows, int64_t dim, float gain_offset, float eps) {
  const int64_t row = team_row();
  if (row >= groups * rows) return;
  const int64_t packs = dim / N;
  const T* row_gain = gain == nullptr ? nullptr : gain + row / rows * dim;
  Row<T, N, kCached> in;
  in.from = x + row * dim;
  const float2 m = moments(in, packs, eps);
  if (stats != nullptr && threadIdx.x == 0) stats[row] = m;
  if (dx == nullptr) return;
  float sum = 0, along = 0;
  each_pack<kCached>(packs, [&](int p, int64_t at) {
    const auto& v = in.again(p, at);
    float g[N], d[N];
    load_gain<T, N>(row_gain, at, gain_offset, g);
    load<T, N>(dy + row * dim + at * N, d);
#pragma unroll
    for (int i = 0; i < N; ++i) {
      sum += d[i] * g[i];
      along += d[i] * g[i] * ((v[i] - m.x) * m.y);
    }
  });
  const float mean_g = team_sum(sum) / static_cast<float>(dim), mean_along = team_sum(along) / static_cast<float>(dim);
  each_pack<kCached>(packs, [&](int p, int64_t at) {
    const auto& v = in.again(p, at);
    float g[N], d[N], out[N];
    load_gain<T, N>(row_gain, at, gain_offset, g);
    load<T, N>(dy + row * dim + at * N, d);
#pragma unroll
    for (int i = 0; i < N; ++i) out[i] = m.y * (d[i] * g[i] - mean_g - (v[i] - m.x) * m.y * mean_along);
    store<T, N>(dx + row * dim + at * N, out);
  });
}

// One block per chunk of a group and 128 columns.
template <class T>
__global__ void norm_chunks_kernel(const T* __restrict__ dy, const T* __restrict__ x, const float2* __restrict__ stats,
                                   float* __restrict__ dgain, float* __restrict__ dshift, int64_t groups, int64_t rows,
                                   int64_t chunks, int64_t dim) {
  const int64_t column = blockIdx.x * int64_t{blockDim.x} + threadIdx.x;
  if (column >= dim) return;
  for (int64_t task = blockIdx.y; task < groups * chunks; task += gridDim.y) {
    const int64_t group = task / chunks, first = task % chunks * kRowsPerChunk;
    const int64_t last = first + kRowsPerChunk < rows ? first + kRowsPerChunk : rows;
    float gain_sum = 0, shift_sum = 0;
#pragma unroll 4
    for (int64_t row = group * rows + first; row < group * rows + last; ++row) {
      const float2 m = stats[row];
      const float d = to_f32(dy[row * dim + column]);
      gain_sum += d * ((to_f32(x[row * dim + column]) - m.x) * m.y);
      shift_sum += d;
    }
    dgain[task * dim + column] = gain_sum;
    dshift[task * dim + column] = shift_sum;
  }
}

}  // namespace

void norm_rows_cuda(const NormRowsArgs& a, cudaStream_t stream) {
  if (a.groups * a.rows * a.dim == 0) return;
  RL_DISPATCH_CUDA(a.dtype, T, {
    RL_DISPATCH_WIDTH(wide<T>(a.dim, {a.x, a.gain, a.shift, a.y}), T, N, {
      const Launch l = launch_for(a.groups * a.rows, a.dim / N);
      const auto kernel = l.cached ? norm_rows_kernel<T, N, true> : norm_rows_kernel<T, N, false>;
      kernel<<<l.grid, l.block, 0, stream>>>(static_cast<const T*>(a.x), static_cast<const T*>(a.gain),
                                             static_cast<const T*>(a.shift), static_cast<T*>(a.y), a.groups, a.rows, a.dim,
                                             a.gain_offset, a.eps);
    });
  });
  RL_CUDA(cudaGetLastError());
}

void norm_rows_bwd_cuda(const NormRowsBwdArgs& a, cudaStream_t stream) {
  if (a.groups * a.dim == 0) return;
  const int64_t chunks = chunks_of(a.rows), plane = a.groups * chunks * a.dim;
  const bool sums = a.dgain != nullptr || a.dshift != nullptr;
  float2* stats = reinterpret_cast<float2*>(a.stats);
  if (a.rows > 0) {
    RL_DISPATCH_CUDA(a.dtype, T, {
      RL_DISPATCH_WIDTH(wide<T>(a.dim, {a.dy, a.x, a.gain, a.dx}), T, N, {
        const Launch l = launch_for(a.groups * a.rows, a.dim / N);
        const auto kernel = l.cached ? norm_rows_bwd_kernel<T, N, true> : norm_rows_bwd_kernel<T, N, false>;
        kernel<<<l.grid, l.block, 0, stream>>>(static_cast<const T*>(a.dy), static_cast<const T*>(a.x),
                                               static_cast<const T*>(a.gain), static_cast<T*>(a.dx), sums ? stats : nullptr,
                                               a.groups, a.rows, a.dim, a.gain_offset, a.eps);
      });
      RL_CUDA(cudaGetLastError());
      if (sums) {
        const int64_t tasks = a.groups * chunks;
        const dim3 grid(static_cast<unsigned>((a.dim + 127) / 128), static_cast<unsigned>(tasks < 65535 ? tasks : 65535));
        norm_chunks_kernel<T><<<grid, 128, 0, stream>>>(static_cast<const T*>(a.dy), static_cast<const T*>(a.x), stats, a.partial,
                                                        a.partial + plane, a.groups, a.rows, chunks, a.dim);
        RL_CUDA(cudaGetLastError());
      }
    });
  }
  if (a.dgain != nullptr) sum_chunks_cuda(a.partial, a.dgain, a.groups, chunks, a.dim, a.dtype, stream);
  if (a.dshift != nullptr) sum_chunks_cuda(a.partial + plane, a.dshift, a.groups, chunks, a.dim, a.dtype, stream);
}

}  // namespace rl
