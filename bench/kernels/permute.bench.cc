// Speed of native/ops/elem/permute.h. Options: --help.
#include "bench/harness.h"
#include "native/ops/elem/permute.h"

using namespace rl;

int main(int argc, char** argv) {
  return bench::run(argc, argv, [](bench::Bench& b) {
    struct Order { bench::Case test; std::vector<int64_t> order; };
    for (const auto& [test, order] : {Order{{"tokens to channels", {9, 1369, 1024}}, {0, 2, 1}},
                                      Order{{"heads forward", {1, 10880, 24, 128}}, {0, 2, 1, 3}},
                                      Order{{"tiny points", {9, 3, 64, 64}}, {0, 2, 3, 1}}}) {
      b.time("permute", test.name, test.shape, {2 * static_cast<double>(test.shape.numel()) * b.size(), 0}, [&, order = order] {
        return [x = b.normal(test.shape), order] { permute(x, order); };
      });
    }
  });
}
