#include "native/ops/nn/attention.h"

#include "native/backend/cuda/reduce.cuh"
#include "native/backend/cuda/types.cuh"
#include "native/ops/nn/attention_cuda.h"

namespace rl {

namespace {

// One warp per row of out, which lies at [item, query, head].
template <class T>
__global__ void delta_kernel(const T* __restrict__ dout, const T* __restrict__ out, float* __restrict__ delta, int64_t rows,
                             int64_t heads, int64_t lq, int64_t d) {
  const int64_t row = int64_t{blockIdx.x} * blockDim.y + threadIdx.y;
  if (row >= rows) return;
  float sum = 0;
  for (int64_t c = threadIdx.x; c < d; c += 32) sum += to_f32(dout[row * d + c]) * to_f32(out[row * d + c]);
  sum = warp_sum(sum);
  const int64_t head = row % heads, query = row / heads % lq, item = row / heads / lq;
  if (threadIdx.x == 0) delta[(item * heads + head) * lq + query] = sum;
}

// dbias[head, i, j] = Σ_items dS. One thread per score sums over the batch: the bias of a whole network is trained in one
// table, at sizes where recomputing both products in f32 costs less than keeping tiles of dS.
template <class T>
__global__ void dbias_kernel(const T* __restrict__ q, const T* __restrict__ k, const T* __restrict__ v, const T* __restrict__ dout,
                             const float* __restrict__ bias, const float* __restrict__ lse, const float* __restrict__ delta,
                             float* __restrict__ dbias, int64_t batch, int64_t heads, int64_t lq, int64_t lk, int64_t d,
                             float scale, bool causal) {
  const int64_t i = int64_t{blockIdx.x} * blockDim.y + threadIdx.y, head = blockIdx.z;
  for (int64_t j = int64_t{blockIdx.y} * blockDim.x + threadIdx.x; i < lq && j < lk; j += int64_t{gridDim.y} * blockDim.x) {
    const int64_t at = (head * lq + i) * lk + j;
    float sum = 0;
    for (int64_t item = 0; item < batch && (!causal || j <= i); ++item) {
      const int64_t query = ((item * lq + i) * heads + head) * d, key = ((item * lk + j) * heads + head) * d;
      const int64_t row = (item * heads + head) * lq + i;
      if (lse[row] == -INFINITY) continue;
      float product = 0, gradient = 0;
      for (int64_t c = 0; c < d; ++c) {
        product += to_f32(q[query + c]) * to_f32(k[key + c]);
        gradient += to_f32(dout[query + c]) * to_f32(v[key + c]);
      }
      const float p = expf(product * scale + bias[at] - lse[row]);
      sum += p == 0.0f ? 0.0f : p * (gradient - delta[row]);
    }
    dbias[at] = sum;
  }
}

void check_sizes(const cpu::AttentionArgs& a) {
  RL_CHECK(a.batch * a.heads <= 65535, code::kShape, "attention: batch x heads must be at most 65535 on CUDA, got ", a.batch,
           " x ", a.heads);
  RL_CHECK(a.lq < (int64_t{1} << 30) && a.lk < (int64_t{1} << 30), code::kShape,
           "attention: sequences must be shorter than 2^30 on CUDA, got ", a.lq, " and ", a.lk);
}

}  // namespace

void attention_cuda(const cpu::AttentionArgs& a, cudaStream_t stream) {
  if (a.batch * a.heads * a.lq == 0) return;
  check_sizes(a);
  if (a.type == cpu::ElementType::bf16) attention_bf16_cuda(a, stream);
  else attention_f32_cuda(a, stream);
}

void attention_bwd_cuda(const cpu::AttentionGradArgs& g, float* delta, cudaStream_t stream) {
  const cpu::AttentionArgs& a = g.f;
  if (g.dbias != nullptr && a.batch == 0)
    RL_CUDA(cudaMemsetAsync(g.dbias, 0, static_cast<size_t>(a.heads * a.lq * a.lk) * sizeof(float), stream));
  if (a.batch * a.heads == 0) return;
  check_sizes(a);
  const int64_t rows = a.batch * a.lq * a.heads;
  const bool bf16 = a.type == cpu::ElementType::bf16;
  if (rows > 0) {
    RL_DISPATCH_CUDA(bf16 ? DType::bf16 : DType::f32, T, {
      delta_kernel<T><<<static_cast<unsigned>((rows + 3) / 4), dim3(32, 4), 0, stream>>>(
          static_cast<const T*>(g.dout), static_cast<const T*>(a.out), delta, rows, a.heads, a.lq, a.d);
    });
    RL_CUDA(cudaGetLastError());
  }
  if (g.dbias != nullptr && a.lq * a.lk > 0) {
    const dim3 grid(static_cast<unsigned>((a.lq + 7) / 8), static_cast<unsigned>(a.lk < 32 * 65535 ? (a.lk + 31) / 32 : 65535),
                    static_cast<unsigned>(a.heads));
    RL_DISPATCH_CUDA(bf16 ? DType::bf16 : DType::f32, T, {
      dbias_kernel<T><<<grid, dim3(32, 8), 0, stream>>>(
          static_cast<const T*>(a.q), static_cast<const T*>(a.k), static_cast<const T*>(a.v), static_cast<const T*>(g.dout), a.bias,
          a.lse, delta, g.dbias, a.batch, a.heads, a.lq, a.lk, a.d, a.scale, a.causal);
    });
    RL_CUDA(cudaGetLastError());
  }
  if (bf16) attention_bf16_bwd_cuda(g, delta, stream);
  else attention_f32_bwd_cuda(g, delta, stream);
}

}  // namespace rl
