#include "native/backend/cuda/types.cuh"
#include "native/ops/nn/sinusoidal_embedding.h"

namespace rl {

namespace {

__global__ void sinusoidal_embedding_kernel(const float* __restrict__ t, float* __restrict__ y, int64_t count, int64_t half,
                                            float log_period) {
  for (int64_t i = blockIdx.x * int64_t{blockDim.x} + threadIdx.x; i < count * half; i += int64_t{gridDim.x} * blockDim.x) {
    const int64_t b = i / half, k = i % half;
    // The exponent and the angle round as on the CPU: no fused operation may replace them.
    const float exponent = __fdiv_rn(__fmul_rn(log_period, static_cast<float>(k)), static_cast<float>(half));
    const float angle = __fmul_rn(t[b], static_cast<float>(exp(static_cast<double>(exponent))));
    float sine, cosine;
    sincosf(angle, &sine, &cosine);
    y[b * 2 * half + k] = cosine;
    y[b * 2 * half + half + k] = sine;
  }
}

}  // namespace

void sinusoidal_embedding_cuda(const SinusoidalEmbeddingArgs& a, cudaStream_t stream) {
  const int64_t half = a.dim / 2;
  if (a.count * half == 0) return;
  sinusoidal_embedding_kernel<<<grid_for(a.count * half, 256), 256, 0, stream>>>(a.t, a.y, a.count, half,
                                                                                 static_cast<float>(-9.210340371976184));
  RL_CUDA(cudaGetLastError());
}

}  // namespace rl
