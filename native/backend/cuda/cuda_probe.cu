#include "native/backend/cuda/cuda_probe.h"

namespace rl {

namespace {

__global__ void probe_kernel() {}

}  // namespace

cudaError_t cuda_probe() {
  cudaFuncAttributes attributes;
  const cudaError_t status = cudaFuncGetAttributes(&attributes, probe_kernel);
  (void)cudaGetLastError();
  return status;
}

}  // namespace rl
