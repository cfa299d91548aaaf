// Internal: the vector routines one ISA provides. All are instances of vec_kernels.inl.
#pragma once

#include <cstdint>

#include "native/backend/cpu/bf16.h"
#include "native/backend/cpu/gemm.h"

namespace rl::cpu {

struct VecKernels {
  void (*exp)(const float* in, float* out, int64_t count);
  void (*tanh)(const float* in, float* out, int64_t count);
  void (*erf)(const float* in, float* out, int64_t count);
  void (*sigmoid)(const float* in, float* out, int64_t count);
  void (*activation)(Activation activation, const float* x, float* y, int64_t count);
  void (*activation_grad)(Activation activation, const float* x, const float* dy, float* dx, int64_t count);
  void (*to_float)(const bf16* in, float* out, int64_t count);
  void (*to_bf16)(const float* in, bf16* out, int64_t count);

  // C = activation(alpha * sums + bias) (+ C); C is bf16 or f32, may be `sums` itself.
  void (*gemm_epilogue)(int64_t rows, int64_t columns, const float* sums, int64_t sums_stride, void* c, bool c_is_bf16,
                        int64_t c_stride, float alpha, const float* bias, Activation activation, bool accumulate);

  // Rows of score blocks have room up to a multiple of 16 elements; what lies past `count` is overwritten.
  // One row of a score block, online softmax. scores = exp(scale * scores + bias - row_max'), with row_max' the new
  // running maximum; row_sum is rescaled and extended. Returns the factor for what was summed before.
  float (*softmax_step)(int64_t count, float* scores, float scale, const float* bias, float* row_max, float* row_sum);
  // One row of the backward pass: scores becomes p = exp(scale * scores + bias - lse) and grads, given dP, becomes
  // dS = p (dP - delta), the gradient of the score after scaling. lse = -inf gives zeros.
  void (*softmax_grad)(int64_t count, float* scores, float* grads, float scale, const float* bias, float lse,
                       float delta);
  void (*scale)(float* x, float factor, int64_t count);                   // x *= factor
  void (*axpy)(float factor, const float* x, float* y, int64_t count);    // y += factor x
  float (*dot)(const float* x, const float* y, int64_t count);
};

const VecKernels& vec_kernels_scalar();
const VecKernels& vec_kernels_avx2();
const VecKernels& vec_kernels_avx512();
const VecKernels& vec_kernels();  // of best_isa()

}  // namespace rl::cpu
