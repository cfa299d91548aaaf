// General matrix multiplication on CUDA: cuBLASLt, with the contract of native/backend/cpu/gemm.h on device pointers.
//
//   C[m,n] = activation(alpha * A[m,k] B[k,n] + bias[n])  (+ C)
//
// A and B have one element type. Sums are f32. f32 operands are multiplied in f32 (never TF32), or rounded to bf16 with
// Compute::bf16. Bias and tanh-GELU are fused where the library can; what it cannot (other activations, activation
// before
// accumulation, f32 operands with a bf16 result, k = 0) goes through an f32 copy of the product and one kernel of ours,
// so
// that there is one rounding to the output type everywhere.
// The same call gives the same bits: the plan is chosen by heuristic from sizes, types and alignment, and split sums
// are
// reduced in a fixed order in f32.
#pragma once

#include "native/backend/cpu/gemm.h"
#include "native/core/device.h"

namespace rl {

// Launches on the stream of `device`. Throws ERR_ENVIRONMENT when cuBLASLt is not installed.
void gemm_cuda(const cpu::GemmArgs& args, Device& device);

}  // namespace rl
