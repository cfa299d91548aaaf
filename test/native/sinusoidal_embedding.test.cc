// Sinusoidal embedding against float64 of the f32 angle, and against values computed by hand.
#include "native/ops/nn/sinusoidal_embedding.h"
#include "test/native/tensors.h"

using namespace rl;
using namespace rl::test;

TEST_CASE("sinusoidal_embedding: cosines first, frequencies 10000^(-k/half)") {
  for (const auto& device : test_devices())
    for (int64_t dim : {2, 8, 256}) {
      const Values t{0, 1, 2496, 1000, -3.5, 0.25};
      Values expected;
      for (double s : t) {
        for (int part = 0; part < 2; ++part)
          for (int64_t k = 0; k < dim / 2; ++k) {
            const float exponent = static_cast<float>(-std::log(10000.0)) * static_cast<float>(k) / static_cast<float>(dim / 2);
            const float frequency = static_cast<float>(std::exp(static_cast<double>(exponent)));
            const double angle = static_cast<float>(s) * frequency;
            expected.push_back(part == 0 ? std::cos(angle) : std::sin(angle));
          }
      }
      // Measured worst × 1.05; CUDA: two units in the last place, the documented error of cosf and sinf.
      CHECK_CLOSE("sinusoidal_embedding", sinusoidal_embedding(upload(*device, {6}, t), dim), expected, device->is_cuda() ? 2.5e-7 : 3.12e-8);
    }
}

TEST_CASE("sinusoidal_embedding: empty, NaN, wrong shapes") {
  for (const auto& device : test_devices()) {
    CHECK(sinusoidal_embedding(upload(*device, {0}, {}), 4).shape() == (Shape{0, 4}));
    for (double value : download(sinusoidal_embedding(upload(*device, {1}, {NAN}), 4))) CHECK(std::isnan(value));
    CHECK_THROWS(sinusoidal_embedding(upload(*device, {1}, {1}), 3));
    CHECK_THROWS(sinusoidal_embedding(upload(*device, {1}, {1}), 0));
    CHECK_THROWS(sinusoidal_embedding(upload(*device, {1, 1}, {1}), 4));
    CHECK_THROWS(sinusoidal_embedding(upload(*device, {1}, {1}, DType::bf16), 4));
  }
}

int main() { return run_all(); }
