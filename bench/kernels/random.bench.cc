// Speed of native/ops/train/random.h. Options: --help.
#include "bench/harness.h"
#include "native/ops/train/random.h"

using namespace rl;

int main(int argc, char** argv) {
  return bench::run(argc, argv, [](bench::Bench& b) {
    for (const bench::Case& test : {bench::Case{"flux noise 9x384", {1, 5184, 64}}, bench::Case{"tiny editor noise", {36, 16, 12, 12}}}) {
      const double bytes = static_cast<double>(test.shape.numel()) * b.size();
      b.time("randn", test.name, test.shape, {bytes, 0}, [&] { return [x = b.normal(test.shape)] { randn(x, 1, 2, 0, 0, 1); }; });
      b.time("randu", test.name, test.shape, {bytes, 0}, [&] { return [x = b.normal(test.shape)] { randu(x, 1, 2, 0, 0, 1); }; });
    }
  });
}
