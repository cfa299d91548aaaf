// Speed of native/ops/elem/softmax.h. Options: --help.
#include "bench/harness.h"
#include "native/ops/elem/softmax.h"

using namespace rl;

int main(int argc, char** argv) {
  return bench::run(argc, argv, [](bench::Bench& b) {
    for (const bench::Case& test : {bench::Case{"t5-xxl scores", {64, 512, 512}}, bench::Case{"tiny t5 scores", {16, 16, 16}}}) {
      const double count = static_cast<double>(test.shape.numel());
      b.time("softmax", test.name, test.shape, {2 * count * b.size(), 5 * count}, [&] {
        return [x = b.normal(test.shape)] { softmax(x, false); };
      });
      b.time("softmax_bwd", test.name, test.shape, {3 * count * b.size(), 4 * count}, [&] {
        return [dy = b.normal(test.shape), y = b.normal(test.shape)] { softmax_bwd(dy, y, false); };
      });
    }
  });
}
