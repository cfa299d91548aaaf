// Speed of native/ops/elem/slice.h. Options: --help.
#include "bench/harness.h"
#include "native/ops/elem/slice.h"

using namespace rl;

int main(int argc, char** argv) {
  return bench::run(argc, argv, [](bench::Bench& b) {
    const Shape shape{4, 672, 800};
    const double part = 4.0 * 672 * 160 * b.size();
    b.time("slice", "columns, tiny editor", shape, {2 * part, 0}, [&] { return [x = b.normal(shape)] { slice(x, 2, 160, 160); }; });
    b.time("place", "columns, tiny editor", shape, {2 * part, 0}, [&] {
      return [out = b.normal(shape), x = b.normal({4, 672, 160})] { place(out, x, 2, 160); };
    });
    b.time("place", "text before image, flux", {1, 10880, 3072}, {2 * 10368.0 * 3072 * b.size(), 0}, [&] {
      return [out = b.normal({1, 10880, 3072}), x = b.normal({1, 10368, 3072})] { place(out, x, 1, 512); };
    });
  });
}
