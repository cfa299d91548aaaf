// splat_lift against the brute-force renderer in float64.
#include <tuple>

#include "native/backend/cpu/cpu_features.h"
#include "native/core/thread_pool.h"
#include "native/ops/splat/splat_lift.h"
#include "test/native/splat_reference.h"

using namespace rl;
using namespace rl::test;

namespace {

constexpr double kTolerance = 1.44e-7;  // of the largest value of a column; worst observed x 1.05

Tensor lifted(const Binned& b, const Values& mask, const Values& median, int64_t width, int64_t height) {
  Device& device = b.projected.device();
  return splat_lift(b.projected, b.gaussians, b.tile_ranges, b.offsets, b.slots, upload(device, {height, width}, mask),
                    median.empty() ? Tensor() : upload(device, {height, width}, median), width, height);
}

Values column(const Values& rows, size_t k) {
  Values out;
  for (size_t i = k; i < rows.size(); i += 2) out.push_back(rows[i]);
  return out;
}

}  // namespace

TEST_CASE("splat_lift sums weight times mask per Gaussian") {
  const cpu::Isa before = cpu::best_isa();
  for (const auto& device : test_devices())
    for (cpu::Isa isa : {cpu::Isa::scalar, cpu::Isa::avx2, cpu::Isa::avx512}) {
      if (isa > cpu::detected_isa() || (device->is_cuda() && isa != cpu::Isa::scalar)) continue;
      cpu::set_isa(isa);
      Random random(11);
      for (const auto& [width, height, count, dense] : {std::tuple{37, 21, 60, false}, std::tuple{50, 40, 150, true},
          std::tuple{3, 2, 4, false}}) {
        const Values rows = random_rows(random, count, width, height, dense
                                        ? SceneOptions{2, 12, 0.5, 1.0} : SceneOptions{});
        const size_t plane = static_cast<size_t>(width * height);
        Values mask(plane);
        for (double& m : mask) m = rounded(random.uniform(), DType::f32);
        const Values median = brute_force(rows, width, height, {0, 0, 0}).median;
        const Binned b = bin(*device, rows, width, height);
        for (const Values& depth : {Values{}, median}) {
          const Rendered expected = brute_force(rows, width, height, {0, 0, 0},
                                                {&mask, depth.empty() ? nullptr : &depth});
          CHECK_MSG(expected.margin > 4e-6, "margin " << expected.margin << ", choose another seed");
          const Values got = download(lifted(b, mask, depth, width, height));
          for (size_t k = 0; k < 2; ++k)
            CHECK_LE(Worst::note(str("lift ", cpu::isa_name(isa), " ", device->name()),
                                 compare(column(got, k), column(expected.lifted, k)).relative),
                     kTolerance * (device->is_cuda() ? 3 : 1));
        }
        const Values ones = download(lifted(b, Values(plane, 1.0), {}, width, height));
        CHECK(column(ones, 0) == column(ones, 1));
        const Values none = download(lifted(b, mask, Values(plane, 0.0), width, height));
        CHECK(none == Values(none.size(), 0.0));
      }
    }
  cpu::set_isa(before);
}

TEST_CASE("splat_lift: same bits for every thread count, no Gaussians, wrong arguments") {
  const int before = ThreadPool::instance().size();
  Random random(9);
  const Values rows = random_rows(random, 500, 90, 70);
  for (const auto& device : test_devices()) {
    Values first;
    for (int threads : {1, 2, 5}) {
      ThreadPool::instance().set_size(threads);
      const Values got = download(lifted(bin(*device, rows, 90, 70), Values(90 * 70, 0.5), {}, 90, 70));
      if (first.empty()) first = got;
      CHECK(got == first);
    }
    CHECK(lifted(bin(*device, {}, 20, 20), Values(400, 1.0), {}, 20, 20).numel() == 0);
    const Binned b = bin(*device, rows, 90, 70);
    CHECK(error_code_of([&] { lifted(b, Values(400, 1.0), {}, 20, 20); }) == code::kShape);
    const Tensor plane = upload(*device, {70, 90}, Values(6300)), turned = upload(*device, {90, 70}, Values(6300));
    CHECK(error_code_of([&] { splat_lift(b.projected, b.gaussians, b.tile_ranges, b.offsets, b.slots, turned, {}, 90,
                                         70); }) == code::kShape);
    CHECK(error_code_of([&] { splat_lift(b.projected, b.gaussians, b.tile_ranges, b.offsets, b.slots, plane, turned, 90,
                                         70); }) == code::kShape);
    CHECK(error_code_of([&] { splat_lift(b.projected, b.gaussians, b.tile_ranges, b.offsets, b.offsets, plane, {}, 90,
                                         70); }) == code::kShape);
  }
  ThreadPool::instance().set_size(before);
}

int main() { return run_all(); }
