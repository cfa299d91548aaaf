#include "native/ops/conv/resize_taps.h"

#include <algorithm>
#include <cmath>

namespace rl {

namespace {

double keys(double x, double a) {
  x = std::fabs(x);
  if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  if (x < 2) return ((a * x - 5 * a) * x + 8 * a) * x - 4 * a;
  return 0;
}

void add(ResizeTaps& taps, int64_t index, double weight) {
  taps.index.push_back(static_cast<int32_t>(index));
  taps.weight.push_back(static_cast<float>(weight));
}

}  // namespace

ResizeTaps bilinear_taps(int64_t in, int64_t out, bool align_corners) {
  ResizeTaps taps{{0}, {}, {}};
  for (int64_t i = 0; i < out; ++i) {
    double source;
    if (align_corners) {
      source = out > 1 ? static_cast<double>(i * (in - 1)) / static_cast<double>(out - 1) : 0;
    } else {
      source = std::max(0.0, (static_cast<double>(i) + 0.5) * static_cast<double>(in) / static_cast<double>(out) - 0.5);
    }
    const int64_t low = std::min(static_cast<int64_t>(source), in - 1);
    const double t = source - static_cast<double>(low);
    // At the last position both taps are the same; one with the whole weight says so.
    if (low + 1 < in && t > 0) {
      add(taps, low, 1 - t);
      add(taps, low + 1, t);
    } else {
      add(taps, low, 1);
    }
    taps.starts.push_back(static_cast<int32_t>(taps.index.size()));
  }
  return taps;
}

ResizeTaps bicubic_taps(int64_t in, int64_t out, bool antialias) {
  ResizeTaps taps{{0}, {}, {}};
  const double scale = static_cast<double>(in) / static_cast<double>(out);
  for (int64_t i = 0; i < out; ++i) {
    const double centre = scale * (static_cast<double>(i) + 0.5);
    if (antialias) {
      const double support = 2 * std::max(scale, 1.0), inverse = 1 / std::max(scale, 1.0);
      const int64_t low = std::max<int64_t>(static_cast<int64_t>(centre - support + 0.5), 0);
      const int64_t high = std::min<int64_t>(static_cast<int64_t>(centre + support + 0.5), in);
      double sum = 0;
      for (int64_t j = low; j < high; ++j) sum += keys((static_cast<double>(j) - centre + 0.5) * inverse, -0.5);
      for (int64_t j = low; j < high; ++j) add(taps, j,
          keys((static_cast<double>(j) - centre + 0.5) * inverse, -0.5) / sum);
    } else {
      const double source = centre - 0.5, base = std::floor(source);
      for (int64_t j = -1; j <= 2; ++j) {
        const int64_t at = std::clamp<int64_t>(static_cast<int64_t>(base) + j, 0, in - 1);
        add(taps, at, keys(source - base - static_cast<double>(j), -0.75));
      }
    }
    taps.starts.push_back(static_cast<int32_t>(taps.index.size()));
  }
  return taps;
}

ResizeTaps transposed(const ResizeTaps& taps, int64_t columns) {
  ResizeTaps out;
  out.starts.assign(static_cast<size_t>(columns) + 1, 0);
  for (int32_t index : taps.index) ++out.starts[static_cast<size_t>(index) + 1];
  for (size_t i = 1; i < out.starts.size(); ++i) out.starts[i] += out.starts[i - 1];
  out.index.resize(taps.index.size());
  out.weight.resize(taps.index.size());
  std::vector<int32_t> next(out.starts.begin(), out.starts.end() - 1);
  for (size_t row = 0; row + 1 < taps.starts.size(); ++row) {
    for (int32_t t = taps.starts[row]; t < taps.starts[row + 1]; ++t) {
      const auto from = static_cast<size_t>(t);
      const auto to = static_cast<size_t>(next[static_cast<size_t>(taps.index[from])]++);
      out.index[to] = static_cast<int32_t>(row);
      out.weight[to] = taps.weight[from];
    }
  }
  return out;
}

}  // namespace rl
