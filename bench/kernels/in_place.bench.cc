// Speed of native/ops/train/in_place.h. Options: --help.
#include "bench/harness.h"
#include "native/ops/train/in_place.h"

using namespace rl;

int main(int argc, char** argv) {
  return bench::run(argc, argv, [](bench::Bench& b) {
    const Shape shape{3072, 3072};
    const double count = static_cast<double>(shape.numel());
    b.time("scale_in_place", "flux matrix", shape, {2 * count * b.size(), count}, [&] {
      return [y = b.normal(shape)] { scale_in_place(y, -1); };
    });
    b.time("axpy_in_place", "flux matrix", shape, {3 * count * b.size(), 2 * count}, [&] {
      return [y = b.normal(shape), x = b.normal(shape)] { axpy_in_place(y, x, 1e-6); };
    });
    b.time("lerp_in_place", "flux matrix", shape, {3 * count * b.size(), 3 * count}, [&] {
      return [y = b.normal(shape), x = b.normal(shape)] { lerp_in_place(y, x, 0.01); };
    });
  });
}
