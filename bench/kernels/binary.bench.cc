// Speed of native/ops/elem/binary.h. Options: --help.
#include "bench/harness.h"
#include "native/ops/elem/binary.h"

using namespace rl;

int main(int argc, char** argv) {
  return bench::run(argc, argv, [](bench::Bench& b) {
    const Shape x{1, 10880, 3072}, row{1, 1, 3072};
    const double count = static_cast<double>(x.numel());
    b.time("binary", "add", x, {3 * count * b.size(), count}, [&] { return [p = b.normal(x), q = b.normal(x)] { binary(p, q, "add"); }; });
    b.time("binary", "mul by a row", x, {2 * count * b.size(), count}, [&] {
      return [p = b.normal(x), q = b.normal(row)] { binary(p, q, "mul"); };
    });
    b.time("binary", "add tiny editor", {4, 672, 160}, {3.0 * 4 * 672 * 160 * b.size(), 4 * 672 * 160}, [&] {
      return [p = b.normal({4, 672, 160}), q = b.normal({4, 672, 160})] { binary(p, q, "add"); };
    });
  });
}
