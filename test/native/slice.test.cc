// Copies along one dimension, for every alignment, with what surrounds the target untouched.
#include "native/ops/elem/slice.h"
#include "test/native/tensors.h"

using namespace rl;
using namespace rl::test;

TEST_CASE("slice and place copy exactly the range") {
  Random random(1);
  for_each_device_and_dtype([&](Device& device, DType dtype) {
    for (const Shape& shape : {Shape{9}, Shape{4, 6}, Shape{3, 5, 7}, Shape{2, 8, 3, 4}, Shape{3, 50001}}) {
      const Values x = normals(random, shape, dtype);
      const Tensor tx = upload(device, shape, x, dtype);
      for (int d = 0; d < shape.rank(); ++d) {
        for (const auto& [start, length] : {std::pair<int64_t, int64_t>{0, shape[d]}, {1, shape[d] - 1}, {shape[d] / 2, 1}, {1, 0}}) {
          const int64_t behind = shape.numel(d + 1, shape.rank());
          Values part, filled(x.size(), 7);
          for (size_t i = 0; i < x.size(); ++i) {
            const int64_t at = static_cast<int64_t>(i) / behind % shape[d];
            if (at < start || at >= start + length) continue;
            part.push_back(x[i]);
            filled[i] = x[i];
          }
          const Tensor y = slice(tx, d % 2 ? d - shape.rank() : d, start, length);
          CHECK(y.size(d) == length && y.dtype() == dtype);
          CHECK_MSG(download(y) == part, shape << " dim " << d << " start " << start << " length " << length);
          const Tensor target = upload(device, shape, Values(x.size(), 7), dtype);
          place(target, y, d, start);
          CHECK_MSG(download(target) == filled, shape << " dim " << d << " start " << start << " length " << length);
        }
      }
    }
  });
}

TEST_CASE("slice and place refuse what does not fit") {
  const Tensor x = upload(*test_devices()[0], {2, 3}, Values(6));
  CHECK_THROWS(slice(x, 2, 0, 1));
  CHECK_THROWS(slice(x, 1, 2, 2));
  CHECK_THROWS(slice(x, 1, -1, 2));
  CHECK_THROWS(slice(x, 1, 1, INT64_MAX));
  CHECK_THROWS(place(x, slice(x, 1, 0, 2), 1, 2));
  CHECK_THROWS(place(x, slice(x, 0, 0, 1), 1, 0));
  CHECK_THROWS(place(x, upload(*test_devices()[0], {2, 3}, Values(6), DType::bf16), 0, 0));
}

int main() { return run_all(); }
