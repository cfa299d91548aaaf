#include "native/backend/cpu/vec_math.h"

#include "native/backend/cpu/bf16.h"
#include "native/backend/cpu/cpu_features.h"
#include "native/backend/cpu/vec_kernels.h"

namespace rl::cpu {

const VecKernels& vec_kernels() {
#if defined(__x86_64__)
  if (best_isa() >= Isa::avx512) return vec_kernels_avx512();
  if (best_isa() == Isa::avx2) return vec_kernels_avx2();
#endif
  return vec_kernels_scalar();
}

void vexp(const float* in, float* out, int64_t count) { vec_kernels().exp(in, out, count); }
void vtanh(const float* in, float* out, int64_t count) { vec_kernels().tanh(in, out, count); }
void verf(const float* in, float* out, int64_t count) { vec_kernels().erf(in, out, count); }
void vsigmoid(const float* in, float* out, int64_t count) { vec_kernels().sigmoid(in, out, count); }

void vactivation(Activation activation, const float* x, float* y, int64_t count) {
  vec_kernels().activation(activation, x, y, count);
}
void vactivation_grad(Activation activation, const float* x, const float* dy, float* dx, int64_t count) {
  vec_kernels().activation_grad(activation, x, dy, dx, count);
}

void to_float(const bf16* in, float* out, int64_t count) { vec_kernels().to_float(in, out, count); }
void to_bf16(const float* in, bf16* out, int64_t count) { vec_kernels().to_bf16(in, out, count); }

}  // namespace rl::cpu
