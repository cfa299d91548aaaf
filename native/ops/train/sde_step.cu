#include "native/backend/cuda/types.cuh"
#include "native/ops/train/sde_step.h"

namespace rl {

namespace {

constexpr int kThreads = 256;

// One block per chunk of a sample.
__global__ void sde_step_kernel(SdeStepArgs a) {
  __shared__ double sums[kThreads];
  for (int64_t task = blockIdx.x; task < a.batch * a.chunks; task += gridDim.x) {
    const int64_t b = task / a.chunks, chunk = task % a.chunks;
    const int64_t first = b * a.dim + chunk * kSdeChunk, last = b * a.dim + min(a.dim, (chunk + 1) * kSdeChunk);
    double sum = 0;
    for (int64_t i = first + threadIdx.x; i < last; i += kThreads) {
      const float mean = static_cast<float>(__dadd_rn(__dmul_rn(a.from_sample, a.sample[i]), __dmul_rn(a.from_velocity, a.velocity[i])));
      a.mean[i] = mean;
      float next = mean;
      if (a.noise != nullptr) {
        next = static_cast<float>(__dadd_rn(mean, __dmul_rn(a.std, a.noise[i])));
        a.next[i] = next;
      } else if (a.next != nullptr) {
        next = a.next[i];
      }
      const double error = static_cast<double>(next) - mean;
      sum += error * error;
    }
    __syncthreads();
    sums[threadIdx.x] = sum;
    __syncthreads();
    for (int step = kThreads / 2; step > 0; step /= 2) {
      if (static_cast<int>(threadIdx.x) < step) sums[threadIdx.x] += sums[threadIdx.x + step];
      __syncthreads();
    }
    if (threadIdx.x == 0) a.partial[task] = sums[0];
  }
}

__global__ void log_prob_kernel(SdeStepArgs a) {
  for (int64_t b = blockIdx.x * int64_t{blockDim.x} + threadIdx.x; b < a.batch; b += int64_t{gridDim.x} * blockDim.x) {
    double sum = 0;
    for (int64_t chunk = 0; chunk < a.chunks; ++chunk) sum += a.partial[b * a.chunks + chunk];
    a.log_prob[b] = static_cast<float>(a.constant - 0.5 * a.weight * (sum / static_cast<double>(a.dim)));
  }
}

__global__ void sde_step_bwd_kernel(SdeStepBwdArgs a) {
  const int64_t total = a.batch * a.dim;
  for (int64_t i = blockIdx.x * int64_t{blockDim.x} + threadIdx.x; i < total; i += int64_t{gridDim.x} * blockDim.x) {
    double g = 0;
    if (a.dnext != nullptr) g += a.dnext[i];
    if (a.dmean != nullptr) g += a.dmean[i];
    if (a.dlog_prob != nullptr)
      g += a.dlog_prob[i / a.dim] * (a.weight / static_cast<double>(a.dim)) * (static_cast<double>(a.next[i]) - a.mean[i]);
    if (a.dsample != nullptr) a.dsample[i] = static_cast<float>(a.from_sample * g);
    if (a.dvelocity != nullptr) a.dvelocity[i] = static_cast<float>(a.from_velocity * g);
  }
}

}  // namespace

void sde_step_cuda(const SdeStepArgs& args, cudaStream_t stream) {
  sde_step_kernel<<<grid_for(args.batch * args.chunks, 1), kThreads, 0, stream>>>(args);
  RL_CUDA(cudaGetLastError());
  if (args.log_prob == nullptr) return;
  log_prob_kernel<<<grid_for(args.batch, 128), 128, 0, stream>>>(args);
  RL_CUDA(cudaGetLastError());
}

void sde_step_bwd_cuda(const SdeStepBwdArgs& args, cudaStream_t stream) {
  sde_step_bwd_kernel<<<grid_for(args.batch * args.dim, 256), 256, 0, stream>>>(args);
  RL_CUDA(cudaGetLastError());
}

}  // namespace rl
