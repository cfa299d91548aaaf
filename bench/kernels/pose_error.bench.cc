// Speed of native/ops/geom/pose_error.h. Options: --help.
#include "bench/harness.h"
#include "native/ops/geom/pose_error.h"

using namespace rl;

int main(int argc, char** argv) {
  return bench::run(argc, argv, [](bench::Bench& b) {
    if (b.dtype() != DType::f32) return;
    // 16 rollouts of 9 views: 8 neighbouring pairs each, or all 36. The time does not depend on the numbers.
    for (const auto& [name, pairs] : {std::pair{"128 neighbouring pairs", int64_t{128}}, std::pair{"576 pairs", int64_t{576}}}) {
      b.time("pose_error", name, {pairs, 2}, {static_cast<double>(pairs) * (8 + 8 + 4 * 48), 400.0 * static_cast<double>(pairs)},
             [&, pairs = pairs] {
        std::vector<int32_t> indices;
        for (int64_t i = 0; i < pairs; ++i) {
          indices.push_back(static_cast<int32_t>(i % 144));
          indices.push_back(static_cast<int32_t>((i + 1 + i / 144) % 144));
        }
        return [estimate = b.normal({144, 3, 4}), reference = b.normal({144, 3, 4}), ids = b.ints({pairs, 2}, indices)] {
          pose_error(estimate, reference, ids, false);
        };
      });
    }
  });
}
