// Flash attention of f32 tensors in plain f32, for parity with the CPU: tiles of 32 x 32 scores, eight threads per row. The
// scores are summed over the head dimension in slices of 32; a block produces 64 columns of the result and recomputes the
// scores when a head is wider. No atomics.
#include "native/backend/cuda/types.cuh"
#include "native/ops/nn/attention_cuda.h"

namespace rl {

namespace {

constexpr int kTile = 32;     // rows and columns of a tile of scores
constexpr int kSlice = 32;    // of the head dimension
constexpr int kColumns = 64;  // of the result per block
constexpr int kThreads = 256;
constexpr int kLanes = 8;     // threads per row

struct Sizes {
  int heads, lq, lk, d;
  float scale;
  bool causal;
  const float* bias;  // [heads, lq, lk] or null
};

// One more column than needed: rows start in different banks.
using Slice = float[kTile][kSlice + 1];
using Chunk = float[kTile][kColumns + 1];
using Scores = float[kTile][kTile + 1];

__device__ __forceinline__ int64_t head_offset(const Sizes& s, int length) {
  return (static_cast<int64_t>(blockIdx.y / s.heads) * length * s.heads + blockIdx.y % s.heads) * s.d;
}

// Rows [first, ...) and columns [column, ...) of a head, zero beyond it. All threads.
template <int kWidth>
__device__ __forceinline__ void load_tile(float (&tile)[kTile][kWidth], const float* base, const Sizes& s, int length, int first,
                                          int column) {
  constexpr int kUsed = kWidth - 1;
  for (int i = static_cast<int>(threadIdx.x); i < kTile * kUsed; i += kThreads) {
    const int row = i / kUsed, c = i % kUsed;
    const bool there = first + row < length && column + c < s.d;
    tile[row][c] = there ? base[(first + row) * (int64_t{s.heads} * s.d) + column + c] : 0.0f;
  }
}

// x[j] += row of a · row (lane + 8 j) of b
__device__ __forceinline__ void add_products(float (&x)[4], const Slice& a, const Slice& b, int row, int lane) {
#pragma unroll
  for (int k = 0; k < kSlice; ++k)
#pragma unroll
    for (int j = 0; j < 4; ++j) x[j] += a[row][k] * b[lane + kLanes * j][k];
}

// sums[i] += Σ_j p[row][j] b[j][lane + 8 i]
__device__ __forceinline__ void add_rows(float (&sums)[8], const Scores& p, const Chunk& b, int row, int lane) {
  for (int j = 0; j < kTile; ++j)
#pragma unroll
    for (int i = 0; i < 8; ++i) sums[i] += p[row][j] * b[j][lane + kLanes * i];
}

__device__ __forceinline__ bool sees(const Sizes& s, int query, int key) {
  return query < s.lq && key < s.lk && (!s.causal || key <= query);
}

__device__ __forceinline__ float score(const Sizes& s, float product, int query, int key) {
  const float x = product * s.scale;
  if (s.bias == nullptr) return x;
  return x + s.bias[(static_cast<int64_t>(blockIdx.y % s.heads) * s.lq + query) * s.lk + key];
}

__device__ __forceinline__ void store_row(float* base, const Sizes& s, int length, int row, int column, int lane,
                                          const float (&sums)[8], float factor) {
  if (row >= length) return;
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    const int c = column + lane + kLanes * i;
    if (c < s.d) base[row * (int64_t{s.heads} * s.d) + c] = sums[i] * factor;
  }
}

__global__ void __launch_bounds__(kThreads)
    forward_kernel(const float* q, const float* k, const float* v, float* out, float* lse, Sizes s) {
  __shared__ Slice a, b;
  __shared__ Chunk values;
  __shared__ Scores p;
  const int row = static_cast<int>(threadIdx.x) / kLanes, lane = static_cast<int>(threadIdx.x) % kLanes;
  const int first = static_cast<int>(blockIdx.x) * kTile, column = static_cast<int>(blockIdx.z) * kColumns;
  const int64_t query_head = head_offset(s, s.lq), key_head = head_offset(s, s.lk);
  const int end = s.causal ? min(s.lk, first + kTile) : s.lk;
  float sums[8] = {}, top = -INFINITY, total = 0;
  for (int key0 = 0; key0 < end; key0 += kTile) {
    float x[4] = {};
    for (int slice = 0; slice < s.d; slice += kSlice) {
      __syncthreads();  // the tiles of the step before may still be read
      load_tile(a, q + query_head, s, s.lq, first, slice);
      load_tile(b, k + key_head, s, s.lk, key0, slice);
      if (slice == 0) load_tile(values, v + key_head, s, s.lk, key0, column);
      __syncthreads();
      add_products(x, a, b, row, lane);
    }
    float highest = top;
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const int key = key0 + lane + kLanes * j;
      x[j] = sees(s, first + row, key) ? score(s, x[j], first + row, key) : -INFINITY;
      highest = fmaxf(highest, x[j]);
    }
    for (int offset = 1; offset < kLanes; offset *= 2) highest = fmaxf(highest, __shfl_xor_sync(0xFFFFFFFFu, highest, offset));
    const float base = highest == -INFINITY ? 0.0f : highest;  // a row without keys so far: exp(-inf) below, not NaN
    const float factor = expf(top - base);
    top = highest;
    total *= factor;
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const float e = expf(x[j] - base);
      p[row][lane + kLanes * j] = e;
      total += e;
    }
#pragma unroll
    for (int i = 0; i < 8; ++i) sums[i] *= factor;
    __syncwarp();  // the eight threads of a row lie in one warp
    add_rows(sums, p, values, row, lane);
    __syncwarp();
  }
  for (int offset = 1; offset < kLanes; offset *= 2) total += __shfl_xor_sync(0xFFFFFFFFu, total, offset);
  if (lse != nullptr && blockIdx.z == 0 && lane == 0 && first + row < s.lq)
    lse[static_cast<int64_t>(blockIdx.y) * s.lq + first + row] = top + logf(total);
  store_row(out + query_head, s, s.lq, first + row, column, lane, sums, total == 0.0f ? 0.0f : 1.0f / total);
}

// The probability and the gradient of the score from the products q·k and dout·v.
__device__ __forceinline__ void score_gradient(const Sizes& s, int query, int key, float lse, float delta, float& p, float& ds) {
  p = sees(s, query, key) && lse != -INFINITY ? expf(score(s, p, query, key) - lse) : 0.0f;
  ds = p == 0.0f ? 0.0f : p * (ds - delta);
}

__global__ void __launch_bounds__(kThreads)
    dq_kernel(const float* q, const float* k, const float* v, const float* dout, const float* lse, const float* delta, float* dq,
              Sizes s) {
  __shared__ Slice a, b, a2, b2;
  __shared__ Chunk keys;
  __shared__ Scores gradient;
  const int row = static_cast<int>(threadIdx.x) / kLanes, lane = static_cast<int>(threadIdx.x) % kLanes;
  const int first = static_cast<int>(blockIdx.x) * kTile, column = static_cast<int>(blockIdx.z) * kColumns, query = first + row;
  const int64_t query_head = head_offset(s, s.lq), key_head = head_offset(s, s.lk);
  const int end = s.causal ? min(s.lk, first + kTile) : s.lk;
  const float row_lse = query < s.lq ? lse[static_cast<int64_t>(blockIdx.y) * s.lq + query] : -INFINITY;
  const float row_delta = query < s.lq ? delta[static_cast<int64_t>(blockIdx.y) * s.lq + query] : 0.0f;
  float sums[8] = {};
  for (int key0 = 0; key0 < end; key0 += kTile) {
    float p[4] = {}, ds[4] = {};
    for (int slice = 0; slice < s.d; slice += kSlice) {
      __syncthreads();
      load_tile(a, q + query_head, s, s.lq, first, slice);
      load_tile(b, k + key_head, s, s.lk, key0, slice);
      load_tile(a2, dout + query_head, s, s.lq, first, slice);
      load_tile(b2, v + key_head, s, s.lk, key0, slice);
      if (slice == 0) load_tile(keys, k + key_head, s, s.lk, key0, column);
      __syncthreads();
      add_products(p, a, b, row, lane);
      add_products(ds, a2, b2, row, lane);
    }
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      score_gradient(s, query, key0 + lane + kLanes * j, row_lse, row_delta, p[j], ds[j]);
      gradient[row][lane + kLanes * j] = ds[j];
    }
    __syncwarp();
    add_rows(sums, gradient, keys, row, lane);
    __syncwarp();
  }
  store_row(dq + query_head, s, s.lq, query, column, lane, sums, s.scale);
}

// Rows are keys here and columns queries.
__global__ void __launch_bounds__(kThreads)
    dkdv_kernel(const float* q, const float* k, const float* v, const float* dout, const float* lse, const float* delta, float* dk,
                float* dv, Sizes s) {
  __shared__ Slice a, b, a2, b2;
  __shared__ Chunk queries, upstream;
  __shared__ Scores probability, gradient;
  const int row = static_cast<int>(threadIdx.x) / kLanes, lane = static_cast<int>(threadIdx.x) % kLanes;
  const int first = static_cast<int>(blockIdx.x) * kTile, column = static_cast<int>(blockIdx.z) * kColumns, key = first + row;
  const int64_t query_head = head_offset(s, s.lq), key_head = head_offset(s, s.lk);
  float k_sums[8] = {}, v_sums[8] = {};
  for (int query0 = s.causal ? first : 0; query0 < s.lq; query0 += kTile) {
    float p[4] = {}, ds[4] = {};
    for (int slice = 0; slice < s.d; slice += kSlice) {
      __syncthreads();
      load_tile(a, k + key_head, s, s.lk, first, slice);
      load_tile(b, q + query_head, s, s.lq, query0, slice);
      load_tile(a2, v + key_head, s, s.lk, first, slice);
      load_tile(b2, dout + query_head, s, s.lq, query0, slice);
      if (slice == 0) {
        load_tile(queries, q + query_head, s, s.lq, query0, column);
        load_tile(upstream, dout + query_head, s, s.lq, query0, column);
      }
      __syncthreads();
      add_products(p, a, b, row, lane);
      add_products(ds, a2, b2, row, lane);
    }
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const int query = query0 + lane + kLanes * j;
      const int64_t at = static_cast<int64_t>(blockIdx.y) * s.lq + query;
      score_gradient(s, query, key, query < s.lq ? lse[at] : -INFINITY, query < s.lq ? delta[at] : 0.0f, p[j], ds[j]);
      probability[row][lane + kLanes * j] = p[j];
      gradient[row][lane + kLanes * j] = ds[j];
    }
    __syncwarp();
    add_rows(v_sums, probability, upstream, row, lane);
    add_rows(k_sums, gradient, queries, row, lane);
    __syncwarp();
  }
  store_row(dk + key_head, s, s.lk, key, column, lane, k_sums, s.scale);
  store_row(dv + key_head, s, s.lk, key, column, lane, v_sums, 1.0f);
}

Sizes sizes_of(const cpu::AttentionArgs& a) {
  return {static_cast<int>(a.heads), static_cast<int>(a.lq), static_cast<int>(a.lk), static_cast<int>(a.d), a.scale, a.causal, a.bias};
}

dim3 grid_of(const cpu::AttentionArgs& a, int64_t rows) {
  return dim3(static_cast<unsigned>((rows + kTile - 1) / kTile), static_cast<unsigned>(a.batch * a.heads),
              static_cast<unsigned>((a.d + kColumns - 1) / kColumns));
}

}  // namespace

void attention_f32_cuda(const cpu::AttentionArgs& a, cudaStream_t stream) {
  forward_kernel<<<grid_of(a, a.lq), kThreads, 0, stream>>>(static_cast<const float*>(a.q), static_cast<const float*>(a.k),
                                                            static_cast<const float*>(a.v), static_cast<float*>(a.out), a.lse,
                                                            sizes_of(a));
  RL_CUDA(cudaGetLastError());
}

void attention_f32_bwd_cuda(const cpu::AttentionGradArgs& g, const float* delta, cudaStream_t stream) {
  const cpu::AttentionArgs& a = g.f;
  const float *q = static_cast<const float*>(a.q), *k = static_cast<const float*>(a.k), *v = static_cast<const float*>(a.v);
  const float* dout = static_cast<const float*>(g.dout);
  if (a.lq > 0) {
    dq_kernel<<<grid_of(a, a.lq), kThreads, 0, stream>>>(q, k, v, dout, a.lse, delta, static_cast<float*>(g.dq), sizes_of(a));
    RL_CUDA(cudaGetLastError());
  }
  if (a.lk > 0) {
    dkdv_kernel<<<grid_of(a, a.lk), kThreads, 0, stream>>>(q, k, v, dout, a.lse, delta, static_cast<float*>(g.dk),
                                                           static_cast<float*>(g.dv), sizes_of(a));
    RL_CUDA(cudaGetLastError());
  }
}

}  // namespace rl
