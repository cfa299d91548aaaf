// Speed of native/ops/elem/reduce.h. Options: --help.
#include "bench/harness.h"
#include "native/ops/elem/reduce.h"

using namespace rl;

int main(int argc, char** argv) {
  return bench::run(argc, argv, [](bench::Bench& b) {
    struct Sum { bench::Case test; std::vector<int64_t> dims; };
    for (const auto& [test, dims] : {Sum{{"mean of all", {9, 518, 518}}, {}}, Sum{{"columns", {10880, 3072}}, {0}},
                                     Sum{{"rows", {10880, 3072}}, {1}}}) {
      const double count = static_cast<double>(test.shape.numel());
      b.time("reduce", test.name, test.shape, {count * b.size(), count}, [&, dims = dims] {
        return [x = b.normal(test.shape), dims] { reduce(x, "mean", dims, false); };
      });
    }
  });
}
