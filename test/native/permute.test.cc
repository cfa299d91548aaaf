// Every order of the dimensions of odd shapes, against index arithmetic.
#include "native/ops/elem/permute.h"
#include "test/native/tensors.h"

using namespace rl;
using namespace rl::test;

namespace {

Values reference(const Shape& shape, const Values& x, const std::vector<int64_t>& order) {
  Values y(x.size());
  for (size_t i = 0; i < y.size(); ++i) {
    int64_t rest = static_cast<int64_t>(i), at = 0;
    for (int k = static_cast<int>(order.size()) - 1; k >= 0; --k) {
      const int d = static_cast<int>(order[static_cast<size_t>(k)]);
      at += rest % shape[d] * shape.numel(d + 1, shape.rank());
      rest /= shape[d];
    }
    y[i] = x[static_cast<size_t>(at)];
  }
  return y;
}

}  // namespace

TEST_CASE("permute matches index arithmetic for every order") {
  Random random(1);
  for_each_device_and_dtype([&](Device& device, DType dtype) {
    for (const Shape& shape : {Shape{}, Shape{5}, Shape{4, 7}, Shape{3, 1, 5}, Shape{2, 3, 4, 5}, Shape{67, 130}, Shape{2, 33, 19, 8}, Shape{2, 2, 3, 1, 2}}) {
      const Values x = normals(random, shape, dtype);
      std::vector<int64_t> order(static_cast<size_t>(shape.rank()));
      for (size_t i = 0; i < order.size(); ++i) order[i] = static_cast<int64_t>(i);
      do {
        const Tensor y = permute(upload(device, shape, x, dtype), order);
        for (size_t i = 0; i < order.size(); ++i) CHECK(y.size(static_cast<int>(i)) == shape[static_cast<int>(order[i])]);
        CHECK_MSG(download(y) == reference(shape, x, order), shape << " " << device.name());
      } while (std::next_permutation(order.begin(), order.end()));
    }
  });
}

TEST_CASE("permute: empty tensors, wrong orders") {
  const Tensor x = upload(*test_devices()[0], {2, 0, 3}, {});
  CHECK(permute(x, {2, 0, 1}).shape() == (Shape{3, 2, 0}));
  for (const std::vector<int64_t>& order : {std::vector<int64_t>{0, 1}, {0, 1, 1}, {0, 1, 3}, {0, 1, -1}}) CHECK_THROWS(permute(x, order));
}

int main() { return run_all(); }
