// Projected Gaussians as a fitted scene has them: most about a pixel wide, some large, of any opacity.
#pragma once

#include <cmath>

#include "bench/harness.h"
#include "native/ops/splat/splat_bin.h"
#include "native/ops/splat/splat_tile_counts.h"

namespace rl::bench {

struct SplatScene {
  std::string name;
  int64_t side, count;
};

// A bench's main: body(bench, scene) on a small and a large scene.
template <class Body>
int run_on_scenes(int argc, char** argv, const Body& body) {
  return run(argc, argv, [&](Bench& b) {
    if (b.dtype() != DType::f32) return;
    for (const SplatScene& scene : {SplatScene{"128 px, 20k", 128, 20000}, SplatScene{"512 px, 200k", 512, 200000}})
      body(b, scene);
  });
}

inline Tensor splat_rows(Bench& b, const SplatScene& scene) {
  uint64_t state = 1;
  const auto uniform = [&](double low, double high) {
    state = state * 6364136223846793005ull + 1442695040888963407ull;
    return low + (high - low) * static_cast<double>(state >> 11) * 0x1p-53;
  };
  std::vector<float> rows;
  for (int64_t i = 0; i < scene.count; ++i) {
    const auto size = [&] { return 0.6 * std::pow(7.0, uniform(0, 1) * uniform(0, 1)); };
    const double s1 = size(), s2 = size();
    const double angle = uniform(0, 3.14), c = std::cos(angle), s = std::sin(angle);
    const double p = 1 / (s1 * s1), q = 1 / (s2 * s2);
    const double A = c * c * p + s * s * q, B = c * s * (p - q), C = s * s * p + c * c * q, det = A * C - B * B;
    const double opacity = uniform(0.02, 1), reach = std::sqrt(2 * std::log(255 * opacity));
    const double side = static_cast<double>(scene.side);
    for (double value : {uniform(0, side), uniform(0, side), A, B, C, opacity, uniform(0, 1), uniform(0, 1),
                         uniform(0, 1), uniform(1, 10), std::ceil(reach * std::sqrt(C / det)), std::ceil(reach * std::sqrt(A / det))})
      rows.push_back(static_cast<float>(value));
  }
  Tensor out = Tensor::empty(b.device(), {scene.count, 12});
  b.device().upload(out.data(), rows.data(), out.bytes());
  return out;
}

struct SplatPairs {
  Tensor projected, offsets, gaussians, slots, tile_ranges;
  int64_t total;
};

inline SplatPairs splat_pairs(Bench& b, const SplatScene& scene) {
  SplatPairs out;
  out.projected = splat_rows(b, scene);
  const auto counted = splat_tile_counts(out.projected, scene.side, scene.side);
  out.offsets = counted[0];
  int32_t total = 0;
  b.device().download(&total, counted[1].data(), 4);
  b.device().wait();
  out.total = total;
  const auto sorted = splat_bin(out.projected, out.offsets, total, scene.side, scene.side);
  out.gaussians = sorted[0], out.slots = sorted[1], out.tile_ranges = sorted[2];
  return out;
}

}  // namespace rl::bench
