// Matrix products: C = activation(op(a) op(b) + bias), op the identity or the transpose of the last two dimensions.
//
//   a     [..., M, K], or [..., K, M] if transpose_a; [K] counts as one row
//   b     [..., K, N], or [..., N, K] if transpose_b
//   bias  [N] or absent
//   C     [..., M, N]                       all of one dtype, f32 or bf16
// Leading dimensions are the same, or one operand is a single matrix that every batch item uses. With a single b and a not
// transposed, a's leading dimensions are rows of one product: linear(x, W) is matmul(x, W, transpose_b).
// activation: none, gelu_tanh, gelu_erf, quick_gelu, silu, relu.
// Backward, per batch item: dA = dC Bᵀ, dB = Aᵀ dC, dbias = Σ_rows dC; the gradient of a shared operand is summed over the
// batch in order.
//
// Precision: sums in f32, one rounding to the output type; products of f32 operands in f32 or, with
// device.matmul_precision = bf16, of operands rounded to bf16.
// Tolerance: see test/native/matmul.test.cc (measured worst × 1.05).
// Bytes: the operands and C once.   FLOPs: 2 · M · N · K per batch item, twice that backward.
#pragma once

#include <string>
#include <vector>

#include "native/core/tensor.h"

namespace rl {

Tensor matmul(const Tensor& a, const Tensor& b, const Tensor& bias, bool transpose_a, bool transpose_b,
              const std::string& activation);
// Of matmul without bias and activation. -> [da, db], absent where not needed
std::vector<Tensor> matmul_bwd(const Tensor& dy, const Tensor& a, const Tensor& b, bool transpose_a, bool transpose_b,
                               bool need_da, bool need_db);
// Of y = x weightᵀ + bias, x [..., in], weight [out, in]. `x` may be absent without dweight, `weight` without dx.
// -> [dx, dweight, dbias], absent where not needed
std::vector<Tensor> linear_bwd(const Tensor& dy, const Tensor& x, const Tensor& weight, bool need_dx, bool need_dweight,
                               bool need_dbias);

}  // namespace rl
