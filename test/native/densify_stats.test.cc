// Densification statistics against a plain float64 loop.
#include "native/ops/splat/densify_stats.h"
#include "test/native/tensors.h"

using namespace rl;
using namespace rl::test;

TEST_CASE("densify_stats adds the NDC gradient of the Gaussians that a view shows") {
  Random random(1);
  for (const auto& device : test_devices())
    for (int64_t count : {1, 3, 5003}) {
      Values sums(static_cast<size_t>(count)), views(sums.size());
      const Tensor tsums = upload(*device, {count}, sums), tviews = upload(*device, {count}, views);
      for (int view = 0; view < 3; ++view) {
        const int64_t width = 61 + 40 * view, height = 47;
        Values projected = normals(random, {count, 12});
        const Values gradient = normals(random, {count, 10}, DType::f32, 1e-3);
        for (int64_t i = 0; i < count; ++i) {
          const bool shown = random.uniform() < 0.6;
          projected[static_cast<size_t>(12 * i + 10)] = shown ? 4 : 0;
          projected[static_cast<size_t>(12 * i + 11)] = shown ? 7 : 0;
          if (!shown) continue;
          const double u = gradient[static_cast<size_t>(10 * i)] * static_cast<double>(width) / 2;
          const double v = gradient[static_cast<size_t>(10 * i + 1)] * static_cast<double>(height) / 2;
          sums[static_cast<size_t>(i)] += std::sqrt(u * u + v * v);
          views[static_cast<size_t>(i)] += 1;
        }
        densify_stats(upload(*device, {count, 12}, projected), upload(*device, {count, 10}, gradient), tsums, tviews, width, height);
      }
      CHECK_CLOSE("gradient_sums", tsums, sums, 7.8e-8);
      CHECK(download(tviews) == views);
    }
}

TEST_CASE("densify_stats: NaN of a shown Gaussian reaches its sum, of a hidden one nothing") {
  for (const auto& device : test_devices()) {
    Values projected(36), gradient(30, 0.5);
    projected[10] = projected[11] = projected[34] = projected[35] = 2;
    gradient[0] = gradient[10] = NAN;
    const Tensor sums = upload(*device, {3}, {1, 2, 3}), views = upload(*device, {3}, {4, 5, 6});
    densify_stats(upload(*device, {3, 12}, projected), upload(*device, {3, 10}, gradient), sums, views, 6, 8);
    const Values found = download(sums);
    CHECK(std::isnan(found[0]) && found[1] == 2 && found[2] == 5.5);  // |(0.5 * 3, 0.5 * 4)| = 2.5
    CHECK(download(views) == (Values{5, 5, 7}));
  }
}

TEST_CASE("densify_stats: empty tensors, wrong arguments") {
  Device& cpu = *test_devices()[0];
  const auto zeros = [&](const Shape& shape, DType dtype = DType::f32) {
    return upload(cpu, shape, Values(static_cast<size_t>(shape.numel())), dtype);
  };
  densify_stats(zeros({0, 12}), zeros({0, 10}), zeros({0}), zeros({0}), 4, 4);
  const Tensor projected = zeros({2, 12}), gradient = zeros({2, 10}), sums = zeros({2});
  CHECK_THROWS(densify_stats(gradient, gradient, sums, sums, 4, 4));
  CHECK_THROWS(densify_stats(projected, projected, sums, sums, 4, 4));
  CHECK_THROWS(densify_stats(projected, gradient, zeros({3}), sums, 4, 4));
  CHECK_THROWS(densify_stats(projected, gradient, sums, zeros({2}, DType::i32), 4, 4));
  CHECK_THROWS(densify_stats(projected, gradient, sums, sums, 0, 4));
}

int main() { return run_all(); }
