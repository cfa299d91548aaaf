// Adam with a rate per Gaussian against a float64 recursion.
#include "native/core/thread_pool.h"
#include "native/ops/splat/splat_adam.h"
#include "test/native/tensors.h"

using namespace rl;
using namespace rl::test;

TEST_CASE("splat_adam follows the float64 recursion over 50 steps; rows of scale 0 stay") {
  Random random(1);
  for (const auto& device : test_devices())
    for (const Shape& shape : {Shape{1}, Shape{7, 3}, Shape{2003}, Shape{1001, 4}, Shape{301, 15, 3}, Shape{3, 700}})
      for (bool scaled : {false, true}) {
        const int64_t rows = shape[0], dim = shape.numel() / rows;
        Values p = normals(random, shape), m(p.size()), v(p.size()), scale(static_cast<size_t>(rows), 1);
        const Values start = p;
        if (scaled)
          for (size_t i = 0; i < scale.size(); ++i) scale[i] = i % 3 == 1 ? 0 : rounded(random.uniform(0.05, 3), DType::f32);
        const Tensor tp = upload(*device, shape, p), tm = upload(*device, shape, m), tv = upload(*device, shape, v);
        const Tensor ts = scaled ? upload(*device, {rows}, scale) : Tensor();
        const double lr = 0.01, b1 = 0.9, b2 = 0.999, eps = 1e-15;
        for (int64_t step = 1; step <= 50; ++step) {
          const Values g = normals(random, shape);
          splat_adam(tp, upload(*device, shape, g), tm, tv, ts, lr, b1, b2, eps, step);
          const double n = static_cast<double>(step);
          for (size_t i = 0; i < p.size(); ++i) {
            m[i] = b1 * m[i] + (1 - b1) * g[i];
            v[i] = b2 * v[i] + (1 - b2) * g[i] * g[i];
            p[i] -= scale[i / static_cast<size_t>(dim)] * lr * (m[i] / (1 - std::pow(b1, n))) / (std::sqrt(v[i] / (1 - std::pow(b2, n))) + eps);
          }
        }
        CHECK_CLOSE("splat_adam param", tp, p, 4.1e-7);
        CHECK_CLOSE("splat_adam m", tm, m, 3.6e-7);
        CHECK_CLOSE("splat_adam v", tv, v, 7.2e-7);
        const Values found = download(tp);
        for (size_t i = 0; i < found.size(); ++i)
          if (scale[i / static_cast<size_t>(dim)] == 0) CHECK_MSG(found[i] == start[i], shape << " at " << i);
      }
}

TEST_CASE("splat_adam: a gradient of zero moves nothing, a rate of zero too, NaN stays in its row") {
  for (const auto& device : test_devices()) {
    const auto step = [&](const Values& g, const Values& scale, double lr) {
      const Tensor p = upload(*device, {3, 2}, {1, 2, 3, 4, 5, 6}), m = upload(*device, {3, 2}, Values(6));
      splat_adam(p, upload(*device, {3, 2}, g), m, upload(*device, {3, 2}, Values(6)), upload(*device, {3}, scale), lr, 0.9, 0.999, 1e-15, 1);
      return download(p);
    };
    CHECK(step(Values(6), {1, 1, 1}, 0.1) == (Values{1, 2, 3, 4, 5, 6}));
    CHECK(step(Values(6, 1), {1, 1, 1}, 0) == (Values{1, 2, 3, 4, 5, 6}));
    const Values found = step({NAN, NAN, 0, NAN, 0, 0}, {0, 1, 1}, 0.1);
    CHECK(found[0] == 1 && found[1] == 2 && found[2] == 3 && std::isnan(found[3]) && found[4] == 5 && found[5] == 6);
  }
}

TEST_CASE("splat_adam gives the same bits for every number of threads") {
  Random random(2);
  Device& cpu = *test_devices()[0];
  const Shape shape{5003, 45};
  const Values p = normals(random, shape), g = normals(random, shape), m = normals(random, shape), v(p.size(), 0.7);
  const Values scale = normals(random, {5003});
  const int threads = ThreadPool::instance().size();
  std::vector<Values> runs;
  for (int size : {1, 2, 5}) {
    ThreadPool::instance().set_size(size);
    const Tensor tp = upload(cpu, shape, p);
    splat_adam(tp, upload(cpu, shape, g), upload(cpu, shape, m), upload(cpu, shape, v), upload(cpu, {5003}, scale), 0.1, 0.9, 0.999, 1e-15, 3);
    runs.push_back(download(tp));
  }
  ThreadPool::instance().set_size(threads);
  CHECK(runs[0] == runs[1]);
  CHECK(runs[0] == runs[2]);
}

TEST_CASE("splat_adam: empty tensors, wrong arguments") {
  Device& cpu = *test_devices()[0];
  const Tensor x = upload(cpu, {2, 3}, Values(6)), none = upload(cpu, {0, 3}, {}), scale = upload(cpu, {2}, Values(2));
  const Tensor half = upload(cpu, {2, 3}, Values(6), DType::bf16), flat = upload(cpu, {6}, Values(6));
  splat_adam(none, none, none, none, upload(cpu, {0}, {}), 1, 0.9, 0.9, 1e-15, 1);
  const Tensor thin = upload(cpu, {2, 0, 3}, {});
  splat_adam(thin, thin, thin, thin, scale, 1, 0.9, 0.9, 1e-15, 1);
  CHECK_THROWS(splat_adam(x, flat, x, x, scale, 1, 0.9, 0.9, 1e-15, 1));
  CHECK_THROWS(splat_adam(x, x, half, x, scale, 1, 0.9, 0.9, 1e-15, 1));
  CHECK_THROWS(splat_adam(x, x, x, x, flat, 1, 0.9, 0.9, 1e-15, 1));
  CHECK_THROWS(splat_adam(x, x, x, x, scale, 1, 0.9, 0.9, 1e-15, 0));
  CHECK_THROWS(splat_adam(x, x, x, x, scale, 1, 0.9, 1.0, 1e-15, 1));
  CHECK_THROWS(splat_adam(x, x, x, x, scale, 1, 0.9, 0.9, 0, 1));
}

int main() { return run_all(); }
