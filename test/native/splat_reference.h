// Projected Gaussians for the splatting tests, and a brute-force renderer in float64: every Gaussian at every pixel, no
// tiles.
#pragma once

#include <algorithm>
#include <cmath>
#include <numeric>

#include "native/ops/splat/splat_bin.h"
#include "native/ops/splat/splat_tile_counts.h"
#include "test/native/tensors.h"

namespace rl::test {

inline constexpr int kRow = 12;

// Half sizes in whole pixels of the ellipse at which the opacity has fallen to 1/255.
inline void set_extent(Values& rows, size_t i) {
  double* row = rows.data() + i * kRow;
  const double det = row[2] * row[4] - row[3] * row[3], reach = std::sqrt(2 * std::log(std::max(1.0, 255 * row[5])));
  row[10] = std::ceil(reach * std::sqrt(row[4] / det));
  row[11] = std::ceil(reach * std::sqrt(row[2] / det));
}

// A projected Gaussian of standard deviations s1, s2 (pixels), turned by `angle`.
inline void set_shape(Values& rows, size_t i, double s1, double s2, double angle) {
  double* row = rows.data() + i * kRow;
  const double c = std::cos(angle), s = std::sin(angle), p = 1 / (s1 * s1), q = 1 / (s2 * s2);
  row[2] = rounded(c * c * p + s * s * q, DType::f32);
  row[3] = rounded(c * s * (p - q), DType::f32);
  row[4] = rounded(s * s * p + c * c * q, DType::f32);
  set_extent(rows, i);
}

struct SceneOptions {
  double smallest = 0.7, largest = 6;   // standard deviations in pixels
  double faintest = 0.05, densest = 0.98;
};

inline Values random_rows(Random& random, int64_t count, int64_t width, int64_t height, const SceneOptions& options =
                          {}) {
  Values rows(static_cast<size_t>(count * kRow));
  for (size_t i = 0; i < static_cast<size_t>(count); ++i) {
    double* row = rows.data() + i * kRow;
    // Centres on a grid of 1/64 pixel, so that moving a scene by whole pixels is exact.
    row[0] = std::round(64 * random.uniform(-6, static_cast<double>(width) + 6)) / 64;
    row[1] = std::round(64 * random.uniform(-6, static_cast<double>(height) + 6)) / 64;
    row[5] = rounded(random.uniform(options.faintest, options.densest), DType::f32);
    for (int k = 6; k < 9; ++k) row[k] = rounded(random.uniform(), DType::f32);
    row[9] = rounded(random.uniform(1, 10), DType::f32);
    const auto size = [&] { return options.smallest * std::pow(options.largest / options.smallest, random.uniform()); };
    set_shape(rows, i, size(), size(), random.uniform(0, 3.14));
  }
  return rows;
}

struct Rendered {
  Values image, alpha, depth, median, transmittance;
  Values lifted;         // [N, 2], of the mask given
  double margin = 1e30;  // smallest relative distance of any figure from an edge of the rules
};

struct LiftInput {
  const Values* mask = nullptr;
  const Values* median = nullptr;
};

inline Rendered brute_force(const Values& rows, int64_t width, int64_t height, const Values& background,
                            const LiftInput& lift = {}) {
  const size_t count = rows.size() / kRow, plane = static_cast<size_t>(width * height);
  std::vector<size_t> order(count);
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t i, size_t j) { return rows[i * kRow + 9] < rows[j * kRow + 9];
      });
  Rendered out{Values(3 * plane), Values(plane), Values(plane), Values(plane), Values(plane), Values(2 * count), 1e30};
  const auto edge = [&](double value, double at) { out.margin = std::min(out.margin, std::fabs(value / at - 1)); };
  for (size_t pixel = 0; pixel < plane; ++pixel) {
    const double px = static_cast<double>(pixel % static_cast<size_t>(width)) + 0.5;
    const double py = static_cast<double>(pixel / static_cast<size_t>(width)) + 0.5;
    double t = 1;
    for (size_t i : order) {
      const double* row = rows.data() + i * kRow;
      if (!(row[10] > 0)) continue;
      const double dx = row[0] - px, dy = row[1] - py;
      const double sigma = 0.5 * (row[2] * dx * dx + row[4] * dy * dy) + row[3] * dx * dy;
      const double raw = row[5] * std::exp(-sigma), alpha = std::min(0.99, raw);
      edge(raw, 0.99);
      edge(alpha, 1.0 / 255);
      if (sigma < 0 || alpha < 1.0 / 255) continue;
      const double next = t * (1 - alpha);
      edge(next, 1e-4);
      edge(next, 0.5);
      if (next < 1e-4) break;
      const double weight = t * alpha;
      for (size_t c = 0; c < 3; ++c) out.image[c * plane + pixel] += weight * row[6 + c];
      out.depth[pixel] += weight * row[9];
      if (t >= 0.5 && next < 0.5) out.median[pixel] = row[9];
      if (lift.mask) {
        const double median = lift.median ? (*lift.median)[pixel] : 0;
        if (lift.median) edge(std::fabs(row[9] - median), std::max(1e-30, 0.05 * median));
        if (!lift.median || std::fabs(row[9] - median) < 0.05 * median) {
          out.lifted[2 * i] += weight * (*lift.mask)[pixel];
          out.lifted[2 * i + 1] += weight;
        }
      }
      t = next;
    }
    for (size_t c = 0; c < 3; ++c) out.image[c * plane + pixel] += t * background[c];
    out.transmittance[pixel] = t;
    out.alpha[pixel] = 1 - t;
  }
  return out;
}

// A scene on a device with its pairs.
struct Binned {
  Tensor projected, offsets, gaussians, slots, tile_ranges;
  int64_t total = 0;
};

inline Binned bin(Device& device, const Values& rows, int64_t width, int64_t height) {
  Binned out;
  out.projected = upload(device, {static_cast<int64_t>(rows.size()) / kRow, kRow}, rows);
  const auto counted = splat_tile_counts(out.projected, width, height);
  out.offsets = counted[0];
  out.total = static_cast<int64_t>(download(counted[1])[0]);
  const auto sorted = splat_bin(out.projected, out.offsets, out.total, width, height);
  out.gaussians = sorted[0], out.slots = sorted[1], out.tile_ranges = sorted[2];
  return out;
}

// Message and code of what `call` throws; empty when it does not.
inline std::string error_code_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.code();
  }
  return "";
}

}  // namespace rl::test
