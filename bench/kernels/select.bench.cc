// Speed of native/ops/elem/select.h. Options: --help.
#include "bench/harness.h"
#include "native/ops/elem/select.h"

using namespace rl;

int main(int argc, char** argv) {
  return bench::run(argc, argv, [](bench::Bench& b) {
    const Shape shape{9, 3, 518, 518};
    const double bytes = 4 * static_cast<double>(shape.numel()) * b.size();
    b.time("select", "pictures", shape, {bytes, 0}, [&] {
      return [mask = b.constant(shape, 1, b.dtype()), x = b.normal(shape), y = b.normal(shape)] { select(mask, x, y); };
    });
  });
}
