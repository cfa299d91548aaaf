#include "native/ops/nn/rope.h"
#include "native/ops/nn/rows.cuh"

namespace rl {

namespace {

using namespace rl::rows;

// A team per token: the table row is read once per head from L1. block = 2, N elements are N/2 pairs.
template <class T, int N>
__global__ void neighbours_kernel(const T* __restrict__ x, const float* __restrict__ cosine, const float* __restrict__ sine,
                                  T* __restrict__ y, int64_t tokens, int64_t length, int width, int dim, float direction) {
  const int64_t token = team_row();
  if (token >= tokens) return;
  const int64_t table = token % length * (dim / 2);
  for (int at = static_cast<int>(threadIdx.x) * N; at < width; at += static_cast<int>(blockDim.x) * N) {
    float v[N], c[N / 2], s[N / 2];
    load<T, N>(x + token * width + at, v);
    load<float, N / 2>(cosine + table + at % dim / 2, c);
    load<float, N / 2>(sine + table + at % dim / 2, s);
#pragma unroll
    for (int i = 0; i < N / 2; ++i) {
      const float a = v[2 * i], b = v[2 * i + 1], turn = s[i] * direction;
      v[2 * i] = a * c[i] - b * turn;
      v[2 * i + 1] = a * turn + b * c[i];
    }
    store<T, N>(y + token * width + at, v);
  }
}

// Any block; N neighbouring pairs at a time where half a block is a multiple of N.
template <class T, int N>
__global__ void blocks_kernel(const T* __restrict__ x, const float* __restrict__ cosine, const float* __restrict__ sine,
                              T* __restrict__ y, int64_t tokens, int64_t length, int width, int dim, int half,
                              float direction) {
  const int64_t token = team_row();
  if (token >= tokens) return;
  const int64_t table = token % length * (dim / 2);
  for (int at = static_cast<int>(threadIdx.x) * N; at < width / 2; at += static_cast<int>(blockDim.x) * N) {
    const int pair = at % (dim / 2);  // inside the head
    const int64_t p = token * width + at / (dim / 2) * dim + pair / half * 2 * half + pair % half;
    float a[N], b[N], c[N], s[N];
    load<T, N>(x + p, a);
    load<T, N>(x + p + half, b);
#pragma unroll
    for (int i = 0; i < N; ++i) {
      c[i] = cosine[table + pair + i];
      s[i] = sine[table + pair + i] * direction;
    }
    float first[N], second[N];
#pragma unroll
    for (int i = 0; i < N; ++i) {
      first[i] = a[i] * c[i] - b[i] * s[i];
      second[i] = a[i] * s[i] + b[i] * c[i];
    }
    store<T, N>(y + p, first);
    store<T, N>(y + p + half, second);
  }
}

}  // namespace

void rope_cuda(const RopeArgs& a, cudaStream_t stream) {
  const int64_t tokens = a.batch * a.length;
  if (tokens * a.heads * a.dim == 0) return;
  RL_CHECK(a.heads * a.dim < (int64_t{1} << 30), code::kShape, "rope: heads x head dim of one token must be below 2^30, got ",
           a.heads, " x ", a.dim);
  const int width = static_cast<int>(a.heads * a.dim), dim = static_cast<int>(a.dim), half = static_cast<int>(a.block / 2);
  RL_DISPATCH_CUDA(a.dtype, T, {
    const T* x = static_cast<const T*>(a.x);
    T* y = static_cast<T*>(a.y);
    if (a.block == 2 && wide<T>(a.dim, {a.x, a.y, a.cosine, a.sine})) {
      const Launch l = launch_for(tokens, width / kWide<T>);
      neighbours_kernel<T, kWide<T>><<<l.grid, l.block, 0, stream>>>(x, a.cosine, a.sine, y, tokens, a.length, width, dim, a.direction);
    } else {
      RL_DISPATCH_WIDTH(wide<T>(half, {a.x, a.y}), T, N, {
        const Launch l = launch_for(tokens, width / 2 / N);
        blocks_kernel<T, N><<<l.grid, l.block, 0, stream>>>(x, a.cosine, a.sine, y, tokens, a.length, width, dim, half, a.direction);
      });
    }
  });
  RL_CUDA(cudaGetLastError());
}

}  // namespace rl
