// Gated residual against float64, gradients against their closed form in float64.
#include "native/core/thread_pool.h"
#include "native/ops/nn/gated_residual.h"
#include "test/native/tensors.h"

using namespace rl;
using namespace rl::test;

namespace {

// Measured worst over all instruction sets × 1.05.
double bound(DType dtype) { return dtype == DType::f32 ? 5.23e-8 : 3.25e-3; }

}  // namespace

TEST_CASE("gated_residual and its gradients match float64") {
  Random random(1);
  for_each_device_and_dtype([&](Device& device, DType dtype) {
    for (const Shape& shape : {Shape{1, 1, 1}, Shape{2, 3, 7}, Shape{3, 65, 64}, Shape{5, 1, 33}, Shape{1, 100, 17}}) {
      const Shape row{shape[0], shape[2]};
      const int64_t length = shape[1], dim = shape[2];
      const Values x = normals(random, shape, dtype), gate = normals(random, row, dtype), branch = normals(random, shape, dtype),
                   dy = normals(random, shape, dtype);
      Values y(x.size()), dbranch(x.size()), dgate(gate.size());
      for (size_t i = 0; i < x.size(); ++i) {
        const size_t g = i / static_cast<size_t>(length * dim) * static_cast<size_t>(dim) + i % static_cast<size_t>(dim);
        y[i] = x[i] + gate[g] * branch[i];
        dbranch[i] = gate[g] * dy[i];
        dgate[g] += dy[i] * branch[i];
      }
      const Tensor gates = upload(device, row, gate, dtype), branches = upload(device, shape, branch, dtype);
      CHECK_CLOSE("gated_residual", gated_residual(upload(device, shape, x, dtype), gates, branches), y, bound(dtype));
      const Tensor up = upload(device, shape, dy, dtype);
      const auto grads = gated_residual_bwd(up, gates, branches, true, true);
      CHECK_CLOSE("gated_residual dgate", grads[0], dgate, dtype == DType::f32 ? 1.54e-7 : 2.37e-3);
      CHECK_CLOSE("gated_residual dbranch", grads[1], dbranch, bound(dtype));
      const auto only = gated_residual_bwd(up, gates, {}, false, true);
      CHECK(!only[0] && download(only[1]) == download(grads[1]));
    }
  });
}

TEST_CASE("gated_residual gradients have the same bits for every number of threads") {
  Random random(2);
  Device& device = *test_devices()[0];
  const Shape shape{2, 333, 40};
  const Tensor dy = upload(device, shape, normals(random, shape)), branch = upload(device, shape, normals(random, shape));
  const Tensor gate = upload(device, {2, 40}, normals(random, {2, 40}));
  const int threads = ThreadPool::instance().size();
  std::vector<Values> runs;
  for (int size : {1, 2, 5}) {
    ThreadPool::instance().set_size(size);
    runs.push_back(download(gated_residual_bwd(dy, gate, branch, true, false)[0]));
  }
  ThreadPool::instance().set_size(threads);
  CHECK(runs[0] == runs[1] && runs[0] == runs[2]);
}

TEST_CASE("gated_residual: empty tensors, NaN, wrong shapes") {
  for (const auto& device : test_devices()) {
    const Tensor gate = upload(*device, {2, 3}, Values(6, 0.5)), none = upload(*device, {2, 0, 3}, {});
    CHECK(gated_residual(none, gate, none).numel() == 0);
    CHECK(download(gated_residual_bwd(none, gate, none, true, true)[0]) == Values(6, 0.0));
    const Tensor x = upload(*device, {2, 1, 3}, {1, 2, 3, 4, NAN, 6});
    const Values y = download(gated_residual(x, gate, x));
    CHECK(y[0] == 1.5 && std::isnan(y[4]) && y[5] == 9);
    CHECK_THROWS(gated_residual(x, upload(*device, {3, 2}, Values(6)), x));
    CHECK_THROWS(gated_residual(x, gate, upload(*device, {1, 2, 3}, Values(6))));
    CHECK_THROWS(gated_residual_bwd(x, gate, {}, true, true));
  }
}

int main() { return run_all(); }
