// Speed of native/ops/elem/fill.h. Options: --help.
#include "bench/harness.h"
#include "native/ops/elem/fill.h"

using namespace rl;

int main(int argc, char** argv) {
  return bench::run(argc, argv, [](bench::Bench& b) {
    const Shape shape{10880, 3072};
    b.time("fill", "flux", shape, {static_cast<double>(shape.numel()) * b.size(), 0}, [&] {
      return [x = b.normal(shape)] { fill(x, 1); };
    });
  });
}
