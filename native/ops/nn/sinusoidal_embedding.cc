#include "native/ops/nn/sinusoidal_embedding.h"

#include <cmath>

#include "native/ops/check.h"
#include "native/ops/dispatch.h"
#include "native/ops/registry.h"

namespace rl {

void sinusoidal_embedding_cpu(const SinusoidalEmbeddingArgs& a) {
  const int64_t half = a.dim / 2;
  for (int64_t k = 0; k < half; ++k) {
    // The exponent in f32, as the networks were trained: at angles in the thousands its rounding moves them by 1e-4.
    const float exponent = static_cast<float>(-std::log(10000.0)) * static_cast<float>(k) / static_cast<float>(half);
    const float frequency = static_cast<float>(std::exp(static_cast<double>(exponent)));
    for (int64_t b = 0; b < a.count; ++b) {
      const float angle = a.t[b] * frequency;
      // Double: the f32 library functions lose accuracy to range reduction at angles in the thousands on some platforms.
      a.y[b * a.dim + k] = static_cast<float>(std::cos(static_cast<double>(angle)));
      a.y[b * a.dim + half + k] = static_cast<float>(std::sin(static_cast<double>(angle)));
    }
  }
}

Tensor sinusoidal_embedding(const Tensor& t, int64_t dim) {
  check_dtype("sinusoidal_embedding", "t", t, DType::f32);
  check_rank("sinusoidal_embedding", "t", t, 1);
  RL_CHECK(dim >= 2 && dim % 2 == 0, code::kShape, "sinusoidal_embedding: dim must be even and positive, got ", dim);
  Tensor y = Tensor::empty(t.device(), {t.size(0), dim});
  const SinusoidalEmbeddingArgs args{t.as<float>(), y.as<float>(), t.size(0), dim};
  RL_LAUNCH(t.device(), "sinusoidal_embedding", sinusoidal_embedding_cpu(args),
            sinusoidal_embedding_cuda(args, cuda_stream(t.device())));
  return y;
}

RL_OP(sinusoidal_embedding);

}  // namespace rl
