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
  if (bf16) attention_bf16_bwd_cuda(g, delta, stream);
  else attention_f32_bwd_cuda(g, delta, stream);
}

}  // namespace rl
