// Picking rows is exact; its backward is a sum in the order of the ids.
#include "native/core/thread_pool.h"
#include "native/ops/elem/index_rows.h"
#include "test/native/tensors.h"

using namespace rl;
using namespace rl::test;

TEST_CASE("index_rows picks, index_rows_bwd adds up") {
  Random random(1);
  for_each_device_and_dtype([&](Device& device, DType dtype) {
    for (const auto& [rows, picked, width] : {std::tuple<int64_t, int64_t, int64_t>{5, 9, 3}, {1, 4, 1}, {17, 40, 1031}, {6, 0, 4}}) {
      Values ids;
      for (int64_t m = 0; m < picked; ++m) ids.push_back(static_cast<double>(random.next() % static_cast<uint64_t>(rows)));
      const Shape shape{rows, width, 1}, picked_shape{picked, width, 1};
      const Values x = normals(random, shape, dtype), dy = normals(random, picked_shape, dtype);
      Values y, dx(x.size());
      for (int64_t m = 0; m < picked; ++m)
        for (int64_t c = 0; c < width; ++c) {
          y.push_back(x[static_cast<size_t>(ids[m] * width + c)]);
          float sum = static_cast<float>(dx[static_cast<size_t>(ids[m] * width + c)]);
          sum += static_cast<float>(dy[static_cast<size_t>(m * width + c)]);
          dx[static_cast<size_t>(ids[m] * width + c)] = sum;
        }
      for (double& value : dx) value = rounded(value, dtype);
      const Tensor tids = upload(device, {picked}, ids, DType::i32);
      const Tensor ty = index_rows(upload(device, shape, x, dtype), tids);
      CHECK(ty.shape() == picked_shape && download(ty) == y);
      const Tensor tdx = index_rows_bwd(upload(device, picked_shape, dy, dtype), tids, rows);
      CHECK(tdx.shape() == shape && download(tdx) == dx);
    }
  });
}

TEST_CASE("index_rows: ids out of range, wrong arguments") {
  Device& cpu = *test_devices()[0];
  const Tensor x = upload(cpu, {2, 3}, Values(6));
  CHECK_THROWS(download(index_rows(x, upload(cpu, {2}, {0, 2}, DType::i32))));
  CHECK_THROWS(download(index_rows_bwd(x, upload(cpu, {2}, {0, -1}, DType::i32), 5)));
  CHECK_THROWS(index_rows(x, upload(cpu, {2}, {0, 1})));
  CHECK_THROWS(index_rows_bwd(x, upload(cpu, {3}, {0, 1, 1}, DType::i32), 5));
  for (size_t d = 1; d < test_devices().size(); ++d) {
    Device& device = *test_devices()[d];
    CHECK(std::isnan(download(index_rows(upload(device, {1}, {5}), upload(device, {1}, {3}, DType::i32)))[0]));
  }
}

int main() { return run_all(); }
