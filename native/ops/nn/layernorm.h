// LayerNorm (Ba, Kiros & Hinton 2016) over the last dimension: y = (x − mean) / sqrt(var + eps) * weight + bias, var biased.
//
//   x       [..., D]   f32 or bf16
//   weight  [D]        same dtype as x; optional (1)
//   bias    [D]        same dtype as x; optional (0)
//   y       [..., D]
// Backward: the formulas of norm_rows.h. VGGT norms and q/k norms, CLIP layer norms.
//
// Precision: statistics (two passes) and products in f32, one rounding to the output type.
// Tolerance: see test/native/layernorm.test.cc (measured worst × 1.05).
// Bytes: 2 · rows · D · size.   FLOPs: 8 · rows · D forward, 17 · rows · D backward.
#pragma once

#include "native/ops/nn/norm_rows.h"

namespace rl {

Tensor layernorm(const Tensor& x, const Tensor& weight, const Tensor& bias, double eps);
// -> [dx, dweight, dbias], absent where not needed
std::vector<Tensor> layernorm_bwd(const Tensor& dy, const Tensor& x, const Tensor& weight, double eps, bool need_dx,
                                  bool need_dweight, bool need_dbias);

}  // namespace rl
