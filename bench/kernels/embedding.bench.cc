// Speed of native/ops/nn/embedding.h. Options: --help.
#include "bench/harness.h"
#include "native/ops/nn/embedding.h"

using namespace rl;

int main(int argc, char** argv) {
  return bench::run(argc, argv, [](bench::Bench& b) {
    struct Lookup { bench::Case test; int64_t count; };
    for (const auto& [test, count] : {Lookup{{"t5-xxl", {32128, 4096}}, 512}, Lookup{{"clip-l", {49408, 768}}, 77}}) {
      const int64_t vocabulary = test.shape[0], dim = test.shape[1];
      const double copied = static_cast<double>(count * dim);
      const auto ids = [&, count = count] {
        std::vector<int32_t> values;
        for (int64_t i = 0; i < count; ++i) values.push_back(static_cast<int32_t>(i * 7919 % vocabulary));
        return b.ints({count}, values);
      };
      b.time("embedding", test.name, test.shape, {2 * copied * b.size(), 0}, [&] {
        return [ids = ids(), table = b.normal(test.shape)] { embedding(ids, table); };
      });
      b.time("embedding_bwd", test.name, test.shape, {(copied + static_cast<double>(test.shape.numel())) * b.size(), copied},
             [&, count = count] {
        return [dy = b.normal({count, dim}), ids = ids(), vocabulary] { embedding_bwd(dy, ids, vocabulary); };
      });
    }
  });
}
