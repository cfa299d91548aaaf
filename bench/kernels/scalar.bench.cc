// Speed of native/ops/elem/scalar.h. Options: --help.
#include "bench/harness.h"
#include "native/ops/elem/scalar.h"

using namespace rl;

int main(int argc, char** argv) {
  return bench::run(argc, argv, [](bench::Bench& b) {
    const Shape shape{9, 3, 518, 518};
    const double count = static_cast<double>(shape.numel());
    for (const char* kind : {"affine", "clamp", "within"}) {
      b.time("scalar", kind, shape, {2 * count * b.size(), 2 * count}, [&] {
        return [x = b.normal(shape), kind] { scalar(x, kind, -1, 1); };
      });
    }
  });
}
