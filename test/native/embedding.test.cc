// Table lookup (exact) and its gradient (exact sums in float64).
#include <array>

#include "native/core/thread_pool.h"
#include "native/ops/nn/embedding.h"
#include "test/native/tensors.h"

using namespace rl;
using namespace rl::test;

TEST_CASE("embedding copies rows; the gradient sums repeated ids") {
  Random random(1);
  for_each_device_and_dtype([&](Device& device, DType dtype) {
    for (auto [vocabulary, dim, count] : {std::array<int64_t, 3>{1, 1, 4}, {7, 5, 12}, {300, 33, 77}, {50, 768, 100}}) {
      const Values table = normals(random, {vocabulary, dim}, dtype), dy = normals(random, {count, dim}, dtype);
      Values ids(static_cast<size_t>(count)), y(dy.size()), dtable(table.size());
      for (double& id : ids) id = static_cast<double>(random.next() % static_cast<uint64_t>(vocabulary));
      for (int64_t i = 0; i < count; ++i)
        for (int64_t k = 0; k < dim; ++k) {
          const size_t at = static_cast<size_t>(ids[i]) * dim + k;
          y[i * dim + k] = table[at];
          dtable[at] += dy[i * dim + k];
        }
      const Tensor id = upload(device, {2, count / 2}, {ids.begin(), ids.begin() + count / 2 * 2}, DType::i32);
      const Tensor flat = upload(device, {count}, ids, DType::i32);
      const Tensor rows = embedding(id, upload(device, {vocabulary, dim}, table, dtype));
      CHECK(rows.shape() == (Shape{2, count / 2, dim}));
      y.resize(static_cast<size_t>(count / 2 * 2 * dim));
      CHECK(download(rows) == y);
      // Measured worst over all instruction sets × 1.05.
      CHECK_CLOSE("embedding dtable", embedding_bwd(upload(device, {count, dim}, dy, dtype), flat, vocabulary), dtable,
                  dtype == DType::f32 ? 8.81e-8 : 2.34e-3);
    }
  });
}

TEST_CASE("embedding gradient has the same bits for every number of threads") {
  Random random(2);
  Device& device = *test_devices()[0];
  Values ids(999);
  for (double& id : ids) id = static_cast<double>(random.next() % 11);
  const Tensor id = upload(device, {999}, ids, DType::i32), dy = upload(device, {999, 64}, normals(random, {999, 64}));
  const int threads = ThreadPool::instance().size();
  std::vector<Values> runs;
  for (int size : {1, 3}) {
    ThreadPool::instance().set_size(size);
    runs.push_back(download(embedding_bwd(dy, id, 700)));
  }
  ThreadPool::instance().set_size(threads);
  CHECK(runs[0] == runs[1]);
}

TEST_CASE("embedding: empty, NaN, bad ids, wrong types") {
  for (const auto& device : test_devices()) {
    const Tensor table = upload(*device, {2, 3}, {1, 2, 3, 4, NAN, 6});
    CHECK(embedding(upload(*device, {0}, {}, DType::i32), table).shape() == (Shape{0, 3}));
    CHECK(download(embedding_bwd(upload(*device, {0, 3}, {}), upload(*device, {0}, {}, DType::i32), 2)) == Values(6, 0.0));
    CHECK(std::isnan(download(embedding(upload(*device, {1}, {1}, DType::i32), table))[1]));
    for (double bad : {-1.0, 2.0}) {
      const Tensor out = embedding(upload(*device, {2}, {0, bad}, DType::i32), table);
      if (device->is_cuda()) CHECK(std::isnan(download(out)[3]));
      else CHECK_THROWS(download(out));
    }
    CHECK_THROWS(embedding(table, table));
    CHECK_THROWS(embedding(upload(*device, {1}, {1}, DType::i32), upload(*device, {3}, Values(3))));
    CHECK_THROWS(embedding_bwd(table, upload(*device, {1}, {1}, DType::i32), 2));
  }
}

int main() { return run_all(); }
