// C = activation(product + bias) (+ C), for products that cuBLASLt cannot finish by itself.
#pragma once

#include <cuda_runtime.h>

#include "native/backend/cpu/gemm.h"

namespace rl {

struct GemmEpilogueArgs {
  const float* product;  // [batch, m, n], null for zeros
  const void* bias;      // [n] or null
  void* c;               // batch items of [m, n], rows c_row_stride apart
  int64_t batch, m, n, c_row_stride, c_batch_stride;
  cpu::ElementType bias_type, c_type;
  cpu::Activation activation;
  bool accumulate;
};

void gemm_epilogue_cuda(const GemmEpilogueArgs& args, cudaStream_t stream);

}  // namespace rl
