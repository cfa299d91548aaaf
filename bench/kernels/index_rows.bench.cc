// Speed of native/ops/elem/index_rows.h. Options: --help.
#include "bench/harness.h"
#include "native/ops/elem/index_rows.h"

using namespace rl;

int main(int argc, char** argv) {
  return bench::run(argc, argv, [](bench::Bench& b) {
    const Shape table{961, 16};
    constexpr int64_t kPicked = 4096;
    std::vector<int32_t> values;
    for (int64_t i = 0; i < kPicked; ++i) values.push_back(static_cast<int32_t>(i * 7919 % table[0]));
    const double copied = kPicked * 16.0;
    b.time("index_rows", "position table", table, {2 * copied * b.size() + 4.0 * kPicked, 0}, [&] {
      return [x = b.normal(table), ids = b.ints({kPicked}, values)] { index_rows(x, ids); };
    });
    b.time("index_rows_bwd", "position table", table, {(copied + static_cast<double>(table.numel())) * b.size(), copied}, [&] {
      return [dy = b.normal({kPicked, 16}), ids = b.ints({kPicked}, values), rows = table[0]] { index_rows_bwd(dy, ids, rows); };
    });
  });
}
