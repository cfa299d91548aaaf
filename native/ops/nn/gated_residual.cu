#include "native/ops/nn/gated_residual.h"
#include "native/ops/nn/rows.cuh"

namespace rl {

namespace {

using namespace rl::rows;

template <class T, int N>
__global__ void gated_residual_kernel(const T* __restrict__ x, const T* __restrict__ gate, const T* __restrict__ branch,
                                      T* __restrict__ y, int64_t batch, int64_t rows, int64_t dim) {
  const int64_t row = team_row();
  if (row >= batch * rows) return;
  each_pack<false>(dim / N, [&](int, int64_t pack) {
    const int64_t at = row * dim + pack * N;
    float a[N], g[N], b[N];
    load<T, N>(x + at, a);
    load<T, N>(gate + row / rows * dim + pack * N, g);
    load<T, N>(branch + at, b);
#pragma unroll
    for (int i = 0; i < N; ++i) a[i] += g[i] * b[i];
    store<T, N>(y + at, a);
  });
}

template <class T, int N>
__global__ void branch_kernel(const T* __restrict__ dy, const T* __restrict__ gate, T* __restrict__ dbranch, int64_t batch,
                              int64_t rows, int64_t dim) {
  const int64_t row = team_row();
  if (row >= batch * rows) return;
  each_pack<false>(dim / N, [&](int, int64_t pack) {
    const int64_t at = row * dim + pack * N;
    float d[N], g[N];
    load<T, N>(dy + at, d);
    load<T, N>(gate + row / rows * dim + pack * N, g);
#pragma unroll
    for (int i = 0; i < N; ++i) d[i] *= g[i];
    store<T, N>(dbranch + at, d);
  });
}

// One block per chunk of a batch item and 128 columns.
template <class T>
__global__ void gate_chunks_kernel(const T* __restrict__ dy, const T* __restrict__ branch, float* __restrict__ partial,
                                   int64_t batch, int64_t rows, int64_t chunks, int64_t dim) {
  const int64_t column = blockIdx.x * int64_t{blockDim.x} + threadIdx.x;
  if (column >= dim) return;
  for (int64_t task = blockIdx.y; task < batch * chunks; task += gridDim.y) {
    const int64_t item = task / chunks, first = task % chunks * kRowsPerChunk;
    const int64_t last = first + kRowsPerChunk < rows ? first + kRowsPerChunk : rows;
    float sum = 0;
#pragma unroll 8
    for (int64_t row = item * rows + first; row < item * rows + last; ++row)
      sum += to_f32(dy[row * dim + column]) * to_f32(branch[row * dim + column]);
    partial[task * dim + column] = sum;
  }
}

}  // namespace

void gated_residual_cuda(const GatedResidualArgs& a, cudaStream_t stream) {
  if (a.batch * a.rows * a.dim == 0) return;
  RL_DISPATCH_CUDA(a.dtype, T, {
    RL_DISPATCH_WIDTH(wide<T>(a.dim, {a.x, a.gate, a.branch, a.y}), T, N, {
      const Launch l = launch_for(a.batch * a.rows, a.dim / N);
      gated_residual_kernel<T, N><<<l.grid, l.block, 0, stream>>>(static_cast<const T*>(a.x), static_cast<const T*>(a.gate),
                                                                  static_cast<const T*>(a.branch), static_cast<T*>(a.y),
                                                                  a.batch, a.rows, a.dim);
    });
  });
  RL_CUDA(cudaGetLastError());
}

void gated_residual_bwd_cuda(const GatedResidualBwdArgs& a, cudaStream_t stream) {
  if (a.batch * a.dim == 0) return;
  const int64_t chunks = chunks_of(a.rows), tasks = a.batch * chunks;
  RL_DISPATCH_CUDA(a.dtype, T, {
    if (a.dbranch != nullptr && a.rows > 0) {
      RL_DISPATCH_WIDTH(wide<T>(a.dim, {a.dy, a.gate, a.dbranch}), T, N, {
        const Launch l = launch_for(a.batch * a.rows, a.dim / N);
        branch_kernel<T, N><<<l.grid, l.block, 0, stream>>>(static_cast<const T*>(a.dy), static_cast<const T*>(a.gate),
                                                            static_cast<T*>(a.dbranch), a.batch, a.rows, a.dim);
      });
      RL_CUDA(cudaGetLastError());
    }
    if (a.dgate != nullptr && tasks > 0) {
      const dim3 grid(static_cast<unsigned>((a.dim + 127) / 128), static_cast<unsigned>(tasks < 65535 ? tasks : 65535));
      gate_chunks_kernel<T><<<grid, 128, 0, stream>>>(static_cast<const T*>(a.dy), static_cast<const T*>(a.branch), a.partial,
                                                      a.batch, a.rows, chunks, a.dim);
      RL_CUDA(cudaGetLastError());
    }
  });
  if (a.dgate != nullptr) sum_chunks_cuda(a.partial, a.dgate, a.batch, chunks, a.dim, a.dtype, stream);
}

}  // namespace rl
