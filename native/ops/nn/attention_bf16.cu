// Flash attention of bf16 tensors on the tensor cores. Blocks of four warps, 16 rows of the result per warp; the head
// dimension is taken in slices of kD, and each block produces kD columns of the result, recomputing the scores when a head is
// wider than that. No atomics: every result is written by one block, so runs agree bit for bit.
#include "native/backend/cuda/types.cuh"
#include "native/ops/nn/attention_cuda.h"
#include "native/ops/nn/attention_tiles.cuh"

namespace rl {

namespace {

using namespace rl::tiles;

constexpr int kRows = 64;         // rows of the result per block
constexpr int kThreads = 128;
constexpr int kKeyTile = 64;      // keys per step, forward and dq
constexpr int kQueryTile = 32;    // queries per step of dk and dv, which hold two results in registers

struct Sizes {
  int heads, lq, lk, d;
  float scale;
  bool causal, wide;
  const float* bias;  // [heads, lq, lk] or null
};

template <int kD>
constexpr int tile_bytes(int rows) { return rows * (kD + kPad) * static_cast<int>(sizeof(bf16)); }

__device__ __forceinline__ Head head_of(const bf16* data, const Sizes& s, int length) {
  const int64_t item = blockIdx.y / s.heads, head = blockIdx.y % s.heads;
  return {data + (item * length * s.heads + head) * s.d, int64_t{s.heads} * s.d, length, s.d, s.wide};
}

__device__ __forceinline__ bool sees(const Sizes& s, int query, int key) {
  return query < s.lq && key < s.lk && (!s.causal || key <= query);
}

__device__ __forceinline__ float score(const Sizes& s, float product, int query, int key) {
  const float x = product * s.scale;
  if (s.bias == nullptr) return x;
  return x + s.bias[(static_cast<int64_t>(blockIdx.y % s.heads) * s.lq + query) * s.lk + key];
}

// Over the four threads that share a row of sums.
__device__ __forceinline__ float row_sum(float x) {
  x += __shfl_xor_sync(0xFFFFFFFFu, x, 1);
  return x + __shfl_xor_sync(0xFFFFFFFFu, x, 2);
}
__device__ __forceinline__ float row_max(float x) {
  x = fmaxf(x, __shfl_xor_sync(0xFFFFFFFFu, x, 1));
  return fmaxf(x, __shfl_xor_sync(0xFFFFFFFFu, x, 2));
}

template <int kD>
__global__ void __launch_bounds__(kThreads)
    forward_kernel(const bf16* q, const bf16* k, const bf16* v, bf16* out, float* lse, Sizes s) {
  extern __shared__ __align__(16) unsigned char memory[];
  bf16* q_tile = reinterpret_cast<bf16*>(memory);
  bf16* k_tile = q_tile + kRows * (kD + kPad);
  bf16* v_tile = k_tile + kKeyTile * (kD + kPad);
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  const int first = static_cast<int>(blockIdx.x) * kRows, column = static_cast<int>(blockIdx.z) * kD;
  const Head queries = head_of(q, s, s.lq), keys = head_of(k, s, s.lk), values = head_of(v, s, s.lk);
  const int end = s.causal ? min(s.lk, first + kRows) : s.lk;

  float sums[kD / 8][4] = {};
  float top[2] = {-INFINITY, -INFINITY}, total[2] = {0, 0};
  for (int key0 = 0; key0 < end; key0 += kKeyTile) {
    float p[kKeyTile / 8][4] = {};
    for (int slice = 0; slice < s.d; slice += kD) {
      __syncthreads();  // the tiles of the step before may still be read
      if (key0 == 0 || s.d > kD) load_tile<kRows, kD>(q_tile, queries, first, slice);
      load_tile<kKeyTile, kD>(k_tile, keys, key0, slice);
      if (slice == 0) load_tile<kKeyTile, kD>(v_tile, values, key0, column);
      __syncthreads();
      multiply_transposed<kD, kKeyTile / 8>(p, q_tile + warp * 16 * (kD + kPad), k_tile);
    }
    float highest[2] = {top[0], top[1]};
#pragma unroll
    for (int n = 0; n < kKeyTile / 8; ++n)
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int query = first + warp * 16 + lane / 4 + i / 2 * 8, key = key0 + n * 8 + lane % 4 * 2 + i % 2;
        p[n][i] = sees(s, query, key) ? score(s, p[n][i], query, key) : -INFINITY;
        highest[i / 2] = fmaxf(highest[i / 2], p[n][i]);
      }
    float factor[2], base[2];
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      highest[r] = row_max(highest[r]);
      base[r] = highest[r] == -INFINITY ? 0.0f : highest[r];  // a row without keys so far: exp(-inf) below, not NaN
      factor[r] = __expf(top[r] - base[r]);
      top[r] = highest[r];
      total[r] *= factor[r];
    }
#pragma unroll
    for (int n = 0; n < kKeyTile / 8; ++n)
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        p[n][i] = __expf(p[n][i] - base[i / 2]);
        total[i / 2] += p[n][i];
      }
#pragma unroll
    for (int n = 0; n < kD / 8; ++n)
#pragma unroll
      for (int i = 0; i < 4; ++i) sums[n][i] *= factor[i / 2];
    multiply_sums<kD, kKeyTile / 8>(sums, p, v_tile);
  }
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    total[r] = row_sum(total[r]);
    const int row = first + warp * 16 + lane / 4 + r * 8;
    if (lse != nullptr && blockIdx.z == 0 && lane % 4 == 0 && row < s.lq)
      lse[static_cast<int64_t>(blockIdx.y) * s.lq + row] = top[r] + logf(total[r]);
  }
  const Head result = head_of(out, s, s.lq);
  store_rows<kD>(const_cast<bf16*>(result.base), result.stride, s.lq, s.d, first + warp * 16, column, sums,
                 total[0] == 0.0f ? 0.0f : 1.0f / total[0], total[1] == 0.0f ? 0.0f : 1.0f / total[1]);
}

// Turns the products q·k and dout·v of one place into the probability p and the gradient ds of the score.
__device__ __forceinline__ void score_gradient(const Sizes& s, int query, int key, float lse, float delta, float& p, float& ds) {
  p = sees(s, query, key) && lse != -INFINITY ? __expf(score(s, p, query, key) - lse) : 0.0f;
  ds = p == 0.0f ? 0.0f : p * (ds - delta);
}

template <int kD>
__global__ void __launch_bounds__(kThreads)
    dq_kernel(const bf16* q, const bf16* k, const bf16* v, const bf16* dout, const float* lse, const float* delta, bf16* dq,
              Sizes s) {
  extern __shared__ __align__(16) unsigned char memory[];
  bf16* q_tile = reinterpret_cast<bf16*>(memory);
  bf16* dout_tile = q_tile + kRows * (kD + kPad);
  bf16* k_tile = dout_tile + kRows * (kD + kPad);
  bf16* v_tile = k_tile + kKeyTile * (kD + kPad);
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  const int first = static_cast<int>(blockIdx.x) * kRows, column = static_cast<int>(blockIdx.z) * kD;
  const Head queries = head_of(q, s, s.lq), keys = head_of(k, s, s.lk), values = head_of(v, s, s.lk),
             upstream = head_of(dout, s, s.lq);
  const int end = s.causal ? min(s.lk, first + kRows) : s.lk;
  float row_lse[2], row_delta[2];
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const int row = first + warp * 16 + lane / 4 + r * 8;
    row_lse[r] = row < s.lq ? lse[static_cast<int64_t>(blockIdx.y) * s.lq + row] : -INFINITY;
    row_delta[r] = row < s.lq ? delta[static_cast<int64_t>(blockIdx.y) * s.lq + row] : 0.0f;
  }

  float sums[kD / 8][4] = {};
  for (int key0 = 0; key0 < end; key0 += kKeyTile) {
    float p[kKeyTile / 8][4] = {}, ds[kKeyTile / 8][4] = {};
    for (int slice = 0; slice < s.d; slice += kD) {
      __syncthreads();
      if (key0 == 0 || s.d > kD) {
        load_tile<kRows, kD>(q_tile, queries, first, slice);
        load_tile<kRows, kD>(dout_tile, upstream, first, slice);
      }
      load_tile<kKeyTile, kD>(k_tile, keys, key0, slice);
      load_tile<kKeyTile, kD>(v_tile, values, key0, slice);
      __syncthreads();
      multiply_transposed<kD, kKeyTile / 8>(p, q_tile + warp * 16 * (kD + kPad), k_tile);
      multiply_transposed<kD, kKeyTile / 8>(ds, dout_tile + warp * 16 * (kD + kPad), v_tile);
    }
    if (s.d > kD) {
      __syncthreads();
      load_tile<kKeyTile, kD>(k_tile, keys, key0, column);
      __syncthreads();
    }
#pragma unroll
    for (int n = 0; n < kKeyTile / 8; ++n)
#pragma unroll
      for (int i = 0; i < 4; ++i)
        score_gradient(s, first + warp * 16 + lane / 4 + i / 2 * 8, key0 + n * 8 + lane % 4 * 2 + i % 2, row_lse[i / 2],
                       row_delta[i / 2], p[n][i], ds[n][i]);
    multiply_sums<kD, kKeyTile / 8>(sums, ds, k_tile);
  }
  const Head result = head_of(dq, s, s.lq);
  store_rows<kD>(const_cast<bf16*>(result.base), result.stride, s.lq, s.d, first + warp * 16, column, sums, s.scale, s.scale);
}

// Rows are keys here and columns queries: p and ds are the transposes of those of dq_kernel.
template <int kD>
__global__ void __launch_bounds__(kThreads)
    dkdv_kernel(const bf16* q, const bf16* k, const bf16* v, const bf16* dout, const float* lse, const float* delta, bf16* dk,
                bf16* dv, Sizes s) {
  extern __shared__ __align__(16) unsigned char memory[];
  bf16* k_tile = reinterpret_cast<bf16*>(memory);
  bf16* v_tile = k_tile + kRows * (kD + kPad);
  bf16* q_tile = v_tile + kRows * (kD + kPad);
  bf16* dout_tile = q_tile + kQueryTile * (kD + kPad);
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  const int first = static_cast<int>(blockIdx.x) * kRows, column = static_cast<int>(blockIdx.z) * kD;
  const Head queries = head_of(q, s, s.lq), keys = head_of(k, s, s.lk), values = head_of(v, s, s.lk),
             upstream = head_of(dout, s, s.lq);
  const int start = s.causal ? first / kQueryTile * kQueryTile : 0;
  const float* head_lse = lse + static_cast<int64_t>(blockIdx.y) * s.lq;
  const float* head_delta = delta + static_cast<int64_t>(blockIdx.y) * s.lq;

  float k_sums[kD / 8][4] = {}, v_sums[kD / 8][4] = {};
  for (int query0 = start; query0 < s.lq; query0 += kQueryTile) {
    float p[kQueryTile / 8][4] = {}, ds[kQueryTile / 8][4] = {};
    for (int slice = 0; slice < s.d; slice += kD) {
      __syncthreads();
      if (query0 == start || s.d > kD) {
        load_tile<kRows, kD>(k_tile, keys, first, slice);
        load_tile<kRows, kD>(v_tile, values, first, slice);
      }
      load_tile<kQueryTile, kD>(q_tile, queries, query0, slice);
      load_tile<kQueryTile, kD>(dout_tile, upstream, query0, slice);
      __syncthreads();
      multiply_transposed<kD, kQueryTile / 8>(p, k_tile + warp * 16 * (kD + kPad), q_tile);
      multiply_transposed<kD, kQueryTile / 8>(ds, v_tile + warp * 16 * (kD + kPad), dout_tile);
    }
    if (s.d > kD) {
      __syncthreads();
      load_tile<kQueryTile, kD>(q_tile, queries, query0, column);
      load_tile<kQueryTile, kD>(dout_tile, upstream, query0, column);
      __syncthreads();
    }
#pragma unroll
    for (int n = 0; n < kQueryTile / 8; ++n)
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int query = query0 + n * 8 + lane % 4 * 2 + i % 2;
        const bool there = query < s.lq;
        score_gradient(s, query, first + warp * 16 + lane / 4 + i / 2 * 8, there ? head_lse[query] : -INFINITY,
                       there ? head_delta[query] : 0.0f, p[n][i], ds[n][i]);
      }
    multiply_sums<kD, kQueryTile / 8>(v_sums, p, dout_tile);
    multiply_sums<kD, kQueryTile / 8>(k_sums, ds, q_tile);
  }
  const Head dk_rows = head_of(dk, s, s.lk), dv_rows = head_of(dv, s, s.lk);
  store_rows<kD>(const_cast<bf16*>(dk_rows.base), dk_rows.stride, s.lk, s.d, first + warp * 16, column, k_sums, s.scale, s.scale);
  store_rows<kD>(const_cast<bf16*>(dv_rows.base), dv_rows.stride, s.lk, s.d, first + warp * 16, column, v_sums, 1.0f, 1.0f);
}

Sizes sizes_of(const cpu::AttentionArgs& a, const void* dout) {
  bool wide = a.d % 8 == 0;
  for (const void* pointer : {a.q, a.k, a.v, dout}) wide = wide && reinterpret_cast<uintptr_t>(pointer) % 16 == 0;
  return {static_cast<int>(a.heads), static_cast<int>(a.lq), static_cast<int>(a.lk), static_cast<int>(a.d),
          a.scale, a.causal, wide, a.bias};
}

dim3 grid_of(const cpu::AttentionArgs& a, int64_t rows, int kD) {
  return dim3(static_cast<unsigned>((rows + kRows - 1) / kRows), static_cast<unsigned>(a.batch * a.heads),
              static_cast<unsigned>((a.d + kD - 1) / kD));
}

// More than 48 KiB of shared memory has to be asked for.
template <class Kernel>
void allow(Kernel kernel, int bytes) {
  RL_CUDA(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes));
}

template <int kD>
void forward(const cpu::AttentionArgs& a, cudaStream_t stream) {
  const int bytes = tile_bytes<kD>(kRows + 2 * kKeyTile);
  allow(forward_kernel<kD>, bytes);
  forward_kernel<kD><<<grid_of(a, a.lq, kD), kThreads, bytes, stream>>>(
      static_cast<const bf16*>(a.q), static_cast<const bf16*>(a.k), static_cast<const bf16*>(a.v), static_cast<bf16*>(a.out),
      a.lse, sizes_of(a, nullptr));
  RL_CUDA(cudaGetLastError());
}

template <int kD>
void backward(const cpu::AttentionGradArgs& g, const float* delta, cudaStream_t stream) {
  const cpu::AttentionArgs& a = g.f;
  const Sizes sizes = sizes_of(a, g.dout);
  const bf16 *q = static_cast<const bf16*>(a.q), *k = static_cast<const bf16*>(a.k), *v = static_cast<const bf16*>(a.v);
  const bf16* dout = static_cast<const bf16*>(g.dout);
  if (a.lq > 0) {
    const int bytes = tile_bytes<kD>(2 * kRows + 2 * kKeyTile);
    allow(dq_kernel<kD>, bytes);
    dq_kernel<kD><<<grid_of(a, a.lq, kD), kThreads, bytes, stream>>>(q, k, v, dout, a.lse, delta, static_cast<bf16*>(g.dq), sizes);
    RL_CUDA(cudaGetLastError());
  }
  if (a.lk > 0) {
    const int bytes = tile_bytes<kD>(2 * kRows + 2 * kQueryTile);
    allow(dkdv_kernel<kD>, bytes);
    dkdv_kernel<kD><<<grid_of(a, a.lk, kD), kThreads, bytes, stream>>>(q, k, v, dout, a.lse, delta, static_cast<bf16*>(g.dk),
                                                                       static_cast<bf16*>(g.dv), sizes);
    RL_CUDA(cudaGetLastError());
  }
}

}  // namespace

void attention_bf16_cuda(const cpu::AttentionArgs& a, cudaStream_t stream) {
  if (a.d <= 64) forward<64>(a, stream);
  else forward<128>(a, stream);
}

void attention_bf16_bwd_cuda(const cpu::AttentionGradArgs& a, const float* delta, cudaStream_t stream) {
  if (a.f.d <= 64) backward<64>(a, delta, stream);
  else backward<128>(a, delta, stream);
}

}  // namespace rl
