// Adaptive LayerNorm of the diffusion transformers (Peebles & Xie 2022): y = LN(x) (1 + scale) + shift, LN without affine.
//
//   x      [B, L, C]   f32 or bf16
//   shift  [B, C]      same dtype as x
//   scale  [B, C]      same dtype as x
//   y      [B, L, C]
// Backward: the formulas of norm_rows.h with gain = 1 + scale, one group per batch item (FLUX spec 1.6, 6.3).
//
// Precision: statistics (two passes) and products in f32, one rounding to the output type.
// Tolerance: see test/native/modulate.test.cc (measured worst × 1.05).
// Bytes: 2 · B · L · C · size.   FLOPs: 9 · B · L · C forward, 17 · B · L · C backward.
#pragma once

#include "native/ops/nn/norm_rows.h"

namespace rl {

Tensor modulate(const Tensor& x, const Tensor& shift, const Tensor& scale, double eps);
// -> [dx, dshift, dscale], absent where not needed
std::vector<Tensor> modulate_bwd(const Tensor& dy, const Tensor& x, const Tensor& scale, double eps, bool need_dx,
                                 bool need_dshift, bool need_dscale);

}  // namespace rl
