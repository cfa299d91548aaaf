// Speed of native/ops/splat/photometric_loss.h. Options: --help.
#include "bench/harness.h"
#include "native/ops/splat/photometric_loss.h"

using namespace rl;

int main(int argc, char** argv) {
  return bench::run(argc, argv, [](bench::Bench& b) {
    if (b.dtype() != DType::f32) return;
    for (const bench::Case& test : {bench::Case{"demo view", {3, 128, 128}}, bench::Case{"refit view", {3, 512, 512}}}) {
      const double count = static_cast<double>(test.shape.numel());
      const Shape plane{test.shape[1], test.shape[2]};
      for (bool masked : {false, true})
        b.time("photometric_loss", test.name + (masked ? " masked" : ""), test.shape, {4 * (b.is_cuda() ? 11 : 3) * count, 270 * count}, [&] {
          const Tensor mask = masked ? b.constant(plane, 0.5, DType::f32) : Tensor();
          return [x = b.normal(test.shape), y = b.normal(test.shape), mask] { photometric_loss(x, y, mask, 0.2); };
        });
    }
  });
}
