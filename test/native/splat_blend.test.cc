// splat_blend and its backward against a brute-force renderer in float64 and its central differences.
#include <tuple>

#include "native/backend/cpu/cpu_features.h"
#include "native/core/thread_pool.h"
#include "native/ops/splat/splat_blend.h"
#include "native/ops/splat/splat_blend_backward.h"
#include "test/native/splat_reference.h"

using namespace rl;
using namespace rl::test;

namespace {

// Relative to the largest value of a plane or column; worst observed x 1.05.
constexpr double kImageTolerance = 1.1e-6, kGradientTolerance = 2.5e-6;
const Values kBackground = {0.25, 0.5, 0.75};

std::vector<Tensor> blend(const Binned& b, const Values& background, int64_t width, int64_t height) {
  return splat_blend(b.projected, b.gaussians, b.tile_ranges, upload(b.projected.device(), {3}, background), width,
                     height);
}

void for_each_isa(Device& device, const std::function<void(const std::string&)>& body) {
  if (device.is_cuda()) return body("");
  const cpu::Isa before = cpu::best_isa();
  for (cpu::Isa isa : {cpu::Isa::scalar, cpu::Isa::avx2, cpu::Isa::avx512}) {
    if (isa > cpu::detected_isa()) continue;
    cpu::set_isa(isa);
    body(std::string(" ") + cpu::isa_name(isa));
  }
  cpu::set_isa(before);
}

void check_planes(const std::string& what, const std::vector<Tensor>& got, const Rendered& expected) {
  // Nothing lies so near an edge of the rules that f32 could fall to its other side.
  CHECK_MSG(expected.margin > 4e-6, what << ": margin " << expected.margin << ", choose another seed");
  CHECK_CLOSE("image" + what, got[0], expected.image, kImageTolerance);
  CHECK_CLOSE("alpha" + what, got[1], expected.alpha, kImageTolerance);
  CHECK_CLOSE("depth" + what, got[2], expected.depth, kImageTolerance);
  CHECK(download(got[3]) == expected.median);
  CHECK_CLOSE("transmittance" + what, got[4], expected.transmittance, kImageTolerance);
}

// Part [x0, x0 + w) x [y0, y0 + h) of planes of a picture.
Values crop(const Values& planes, int64_t width, int64_t height, int64_t x0, int64_t y0, int64_t w, int64_t h) {
  Values out;
  for (int64_t c = 0; c < static_cast<int64_t>(planes.size()) / (width * height); ++c)
    for (int64_t y = y0; y < y0 + h; ++y)
      for (int64_t x = x0; x < x0 + w; ++x) out.push_back(planes[static_cast<size_t>((c * height + y) * width + x)]);
  return out;
}

struct Gradients {
  Values image, alpha, depth;
};

Tensor backward(const Binned& b, const std::vector<Tensor>& forward, const Values& background, const Gradients& d,
                int64_t width,
                int64_t height) {
  Device& device = b.projected.device();
  const auto plane = [&](const Values& values) {
    return values.empty() ? Tensor() : upload(device, {height, width}, values);
  };
  return splat_blend_backward(b.projected, b.offsets, b.gaussians, b.slots, b.tile_ranges,
                              upload(device, {3}, background), forward[4],
                              forward[5], upload(device, {3, height, width}, d.image), plane(d.alpha), plane(d.depth),
                                  width, height);
}

Values column(const Values& rows, size_t width, size_t k) {
  Values out;
  for (size_t i = k; i < rows.size(); i += width) out.push_back(rows[i]);
  return out;
}

Values reference_gradient(const Values& rows, const Values& background, const Gradients& d, int64_t width,
                          int64_t height) {
  Values out;
  for (size_t i = 0; i < rows.size() / kRow; ++i)
    for (size_t k = 0; k < 10; ++k) {
      // Few enough that no far pixel crosses 1/255: the exponent moves by 200 times the step of a conic.
      const double step = k >= 2 && k <= 4 ? 1e-8 : 1e-6;
      const auto loss = [&](double by) {
        Values moved = rows;
        moved[i * kRow + k] += by;
        const Rendered r = brute_force(moved, width, height, background);
        return inner(d.image, r.image) + (d.alpha.empty() ? 0 : inner(d.alpha, r.alpha)) +
            (d.depth.empty() ? 0 : inner(d.depth, r.depth));
      };
      out.push_back(rows[i * kRow + 10] > 0 ? (loss(step) - loss(-step)) / (2 * step) : 0);
    }
  return out;
}

void check_gradient(const std::string& what, const Values& got, const Values& expected, bool cuda) {
  const char* names[] = {"u", "v", "A", "B", "C", "opacity", "r", "g", "b", "z"};
  for (size_t k = 0; k < 10; ++k) {
    const double relative = compare(column(got, 10, k), column(expected, 10, k)).relative;
    // The bounds are measured on the CPU; CUDA sums in another order.
    CHECK_LE(Worst::note("d " + std::string(names[k]) + what, relative), kGradientTolerance * (cuda ? 3 : 1));
  }
}

}  // namespace

TEST_CASE("splat_blend renders what the brute-force renderer does") {
  for (const auto& device : test_devices())
    for_each_isa(*device, [&](const std::string& isa) {
      Random random(11);
      const SceneOptions dense{2, 12, 0.5, 1.0};
      for (const auto& [width, height, count, opaque] :
           {std::tuple{16, 16, 5, false}, std::tuple{37, 21, 60, false}, std::tuple{50, 70, 150, true},
               std::tuple{5, 3, 20, true}}) {
        const Values rows = random_rows(random, count, width, height, opaque ? dense : SceneOptions{});
        check_planes(isa + (opaque ? " dense" : ""), blend(bin(*device, rows, width, height), kBackground, width,
                                                           height),
                     brute_force(rows, width, height, kBackground));
      }
    });
}

TEST_CASE("splat_blend: no Gaussians, all culled, one over the whole picture, a finished pixel, equal depths") {
  for (const auto& device : test_devices())
    for_each_isa(*device, [&](const std::string& isa) {
      for (const Values& rows : {Values{}, Values(2 * kRow, 0.0)}) {
        const auto got = blend(bin(*device, rows, 18, 17), kBackground, 18, 17);
        CHECK(download(got[1]) == Values(18 * 17, 0.0) && download(got[3]) == Values(18 * 17, 0.0));
        const Values image = download(got[0]);
        for (size_t c = 0; c < 3; ++c) CHECK(image[c * 18 * 17 + 7] == kBackground[c]);
        const Tensor none = backward(bin(*device, rows, 18, 17), got, kBackground, {Values(3 * 18 * 17, 1.0), {}, {}},
                                     18, 17);
        CHECK(download(none) == Values(rows.size() / kRow * 10, 0.0));
      }
      Values whole(kRow);
      whole = {20, 11, 0, 0, 0, 0.6, 0.9, 0.2, 0.4, 3, 0, 0};
      set_shape(whole, 0, 300, 200, 0.4);
      check_planes(isa + " whole", blend(bin(*device, whole, 40, 33), kBackground, 40, 33),
                   brute_force(whole, 40, 33, kBackground));

      // Three planes: the second leaves 4e-4 of the light, the third would leave 8e-6 < 1e-4 and is not added.
      Values planes;
      for (double z : {1.0, 2.0, 3.0}) {
        const Values row = {8, 8, 1e-9, 0, 1e-9, 0.98, z / 4, 0, 0, z, 99, 99};
        planes.insert(planes.end(), row.begin(), row.end());
      }
      const auto got = blend(bin(*device, planes, 16, 16), {0, 0, 0}, 16, 16);
      CHECK_LE(std::fabs(download(got[0])[100] - (0.98 * 0.25 + 0.02 * 0.98 * 0.5)), 1e-7);
      CHECK(download(got[3])[100] == 1);

      Values tie = planes;
      for (size_t i = 0; i < 3; ++i) tie[i * kRow + 9] = 2, tie[i * kRow + 5] = 0.5;
      CHECK_CLOSE("tie" + isa, blend(bin(*device, tie, 16, 16), {0, 0, 0}, 16, 16)[0],
                  brute_force(tie, 16, 16, {0, 0, 0}).image, kImageTolerance);
    });
}

TEST_CASE("splat_blend: the order of the Gaussians, cutting the picture and the background change what they should") {
  Random random(21);
  const int64_t width = 83, height = 64;
  const Values rows = random_rows(random, 200, width, height);
  for (const auto& device : test_devices()) {
    const auto got = blend(bin(*device, rows, width, height), kBackground, width, height);
    const Values image = download(got[0]), transmittance = download(got[4]);

    Values reversed;
    for (auto row = rows.end(); row != rows.begin(); row -= kRow) reversed.insert(reversed.end(), row - kRow, row);
    CHECK(download(blend(bin(*device, reversed, width, height), kBackground, width, height)[0]) == image);

    // The part that begins at (32, 16), as a picture of its own.
    Values moved = rows;
    for (size_t i = 0; i < rows.size() / kRow; ++i) moved[i * kRow] -= 32, moved[i * kRow + 1] -= 16;
    const auto part = blend(bin(*device, moved, width - 32, height - 16), kBackground, width - 32, height - 16);
    CHECK(download(part[0]) == crop(image, width, height, 32, 16, width - 32, height - 16));

    const Values black = download(blend(bin(*device, rows, width, height), {0, 0, 0}, width, height)[0]);
    double worst = 0, sum = 0;
    const Values alpha = download(got[1]);
    for (size_t i = 0; i < transmittance.size(); ++i) {
      for (size_t c = 0; c < 3; ++c)
        worst = std::max(worst, std::fabs(image[c * transmittance.size() + i] - black[c * transmittance.size() + i] -
                                          transmittance[i] * kBackground[c]));
      sum = std::max(sum, std::fabs(alpha[i] + transmittance[i] - 1));
    }
    CHECK_LE(Worst::note("background", worst), 1.5e-7);
    CHECK_LE(sum, 6e-8);
  }
}

TEST_CASE("splat_blend_backward agrees with central differences") {
  for (const auto& [width, height, count, dense, seed] :
       {std::tuple{37, 21, 12, false, 5}, std::tuple{18, 33, 30, true, 6}, std::tuple{16, 16, 1, false, 7}}) {
    Random random(static_cast<uint64_t>(seed));
    Values rows = random_rows(random, count, width, height, dense ? SceneOptions{3, 12, 0.5, 1.0} : SceneOptions{});
    if (count > 3) rows[3 * kRow + 10] = rows[3 * kRow + 11] = 0;
    const size_t plane = static_cast<size_t>(width * height);
    const Gradients all{normals(random, {static_cast<int64_t>(3 * plane)}),
        normals(random, {static_cast<int64_t>(plane)}),
                        normals(random, {static_cast<int64_t>(plane)})};
    CHECK_MSG(brute_force(rows, width, height, kBackground).margin > 2e-5,
              "margin " << brute_force(rows, width, height, kBackground).margin << " seed " << seed);
    for (const Gradients& d : {all, Gradients{all.image, {}, {}}, Gradients{all.image, {}, all.depth},
        Gradients{all.image, all.alpha, {}}}) {
      const Values expected = reference_gradient(rows, kBackground, d, width, height);
      for (const auto& device : test_devices())
        for_each_isa(*device, [&](const std::string& isa) {
          const Binned b = bin(*device, rows, width, height);
          const Values got = download(backward(b, blend(b, kBackground, width, height), kBackground, d, width, height));
          check_gradient(isa + (dense ? " dense " : " ") + device->name(), got, expected, device->is_cuda());
        });
    }
  }
}

TEST_CASE("splat_blend_backward: a clamped alpha does not move, its colour does") {
  Values rows = {8, 8, 1e-6, 2e-7, 1e-6, 1, 0.3, 0.6, 0.9, 2, 99, 99};
  for (const auto& device : test_devices())
    for_each_isa(*device, [&](const std::string&) {
      const Binned b = bin(*device, rows, 16, 16);
      const Values d = download(backward(b, blend(b, kBackground, 16, 16), kBackground,
                                         {Values(3 * 256, 1.0), Values(256, 1.0), Values(256, 1.0)}, 16, 16));
      for (size_t k = 0; k < 6; ++k) CHECK(d[k] == 0);
      for (size_t k = 6; k < 10; ++k) CHECK_LE(std::fabs(d[k] / (0.99 * 256) - 1), 1e-6);
    });
}

TEST_CASE("splat_blend and its backward give the same bits for every thread count and run") {
  Random random(31);
  const int64_t width = 120, height = 90;
  const Values rows = random_rows(random, 900, width, height, {1, 8, 0.1, 1.0});
  const Gradients d{normals(random, {3, height, width}), normals(random, {height, width}),
      normals(random, {height, width})};
  const int before = ThreadPool::instance().size();
  for (const auto& device : test_devices()) {
    std::vector<Values> first;
    for (int threads : {1, 2, 2, 5}) {
      ThreadPool::instance().set_size(threads);
      const Binned b = bin(*device, rows, width, height);
      const auto forward = blend(b, kBackground, width, height);
      std::vector<Values> got;
      for (const Tensor& t : forward) got.push_back(download(t));
      got.push_back(download(backward(b, forward, kBackground, d, width, height)));
      if (first.empty()) first = got;
      CHECK(got == first);
    }
  }
  ThreadPool::instance().set_size(before);
}

TEST_CASE("splat_blend on CUDA agrees with the CPU on a larger scene") {
  if (test_devices().size() < 2) return;
  Random random(41);
  const int64_t width = 250, height = 190;
  const Values rows = random_rows(random, 4000, width, height);
  const Gradients d{normals(random, {3, height, width}), normals(random, {height, width}),
      normals(random, {height, width})};
  std::vector<std::vector<Values>> got;
  for (const auto& device : test_devices()) {
    const Binned b = bin(*device, rows, width, height);
    const auto forward = blend(b, kBackground, width, height);
    got.push_back({download(forward[0]), download(forward[2]), download(backward(b, forward, kBackground, d, width,
        height))});
  }
  // A few pixels at an edge of the rules differ by 1/255: the mean square tells, not the largest.
  for (size_t i = 0; i < 3; ++i) CHECK_LE(Worst::note("cuda nmse", compare(got[1][i], got[0][i]).nmse), 1e-6);
}

TEST_CASE("splat_blend: wrong arguments") {
  for (const auto& device : test_devices()) {
    Random random(1);
    const Binned b = bin(*device, random_rows(random, 10, 20, 20), 20, 20);
    const Tensor background = upload(*device, {3}, kBackground);
    const auto shape_error = [&](const std::function<void()>& call) { CHECK(error_code_of(call) == code::kShape); };
    shape_error([&] { splat_blend(b.projected, b.gaussians, b.tile_ranges, background, 40, 40); });
    shape_error([&] { splat_blend(b.projected, b.gaussians, b.tile_ranges, upload(*device, {4}, Values(4)), 20, 20); });
    shape_error([&] { splat_blend(b.projected, b.offsets.reshape({1, 11}), b.tile_ranges, background, 20, 20); });
    shape_error([&] { splat_blend(upload(*device, {10, 11}, Values(110)), b.gaussians, b.tile_ranges, background, 20,
                                  20); });
    shape_error([&] { splat_blend(Tensor(), b.gaussians, b.tile_ranges, background, 20, 20); });
    const auto out = splat_blend(b.projected, b.gaussians, b.tile_ranges, background, 20, 20);
    const Tensor plane = upload(*device, {20, 20}, Values(400));
    shape_error([&] { splat_blend_backward(b.projected, b.offsets, b.gaussians, b.slots, b.tile_ranges, background,
                                           out[4], out[5], plane, {}, {}, 20, 20); });
    shape_error([&] { splat_blend_backward(b.projected, b.gaussians, b.gaussians, b.slots, b.tile_ranges, background,
                                           out[4], out[5], out[0], {}, {}, 20, 20); });
    if (!device->is_cuda()) {
      // Indices of another scene are found when the command runs.
      const Tensor foreign = upload(*device, {b.total}, Values(static_cast<size_t>(b.total), 10.0), DType::i32);
      shape_error([&] { download(splat_blend(b.projected, foreign, b.tile_ranges, background, 20, 20)[0]); });
      shape_error([&] { download(splat_blend(b.projected, b.gaussians, upload(*device, {5}, {0, 9, 3, 9, 9},
          DType::i32), background, 20, 20)[0]); });
    }
  }
}

int main() { return run_all(); }
