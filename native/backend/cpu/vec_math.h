// Vectorised element-wise functions over contiguous float arrays, on the calling thread, with the widest vectors of
// best_isa(). In-place use (in == out) is fine; partial overlap is not. NaN in gives NaN out.
//
// Greatest error against float64 over all tested inputs (test/native/vec_math.test.cc), in units of the last place:
//   vexp 0.97, vtanh 1.21, verf 1.22, vsigmoid 2.05.
// vexp gives 0 below -104 and infinity above 88.73, and rounds subnormal results once.
#pragma once

#include <cstdint>

#include "native/backend/cpu/gemm.h"

namespace rl::cpu {

void vexp(const float* in, float* out, int64_t count);
void vtanh(const float* in, float* out, int64_t count);
void verf(const float* in, float* out, int64_t count);
void vsigmoid(const float* in, float* out, int64_t count);

// y = f(x) for every Activation:
//   gelu_tanh  x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))      gelu_erf  x/2 (1 + erf(x/sqrt 2))
//   quick_gelu x sigmoid(1.702 x)      silu  x sigmoid(x)      relu  max(x, 0)      none  x
void vactivation(Activation activation, const float* x, float* y, int64_t count);

// dx = dy f'(x). relu'(0) = 0.
void vactivation_grad(Activation activation, const float* x, const float* dy, float* dx, int64_t count);

}  // namespace rl::cpu
