// Resizing against interpolation written independently: point by point over the image, in float64, without tables.
#include "native/ops/conv/resize.h"

#include <limits>

#include "test/native/conv_reference.h"

using namespace rl;
using namespace rl::test;

namespace {

enum class Kind { bilinear, bilinear_corners, bicubic, bicubic_antialias };

double cubic(double x, double a) {
  x = std::fabs(x);
  if (x >= 2) return 0;
  return x < 1 ? (a + 2) * x * x * x - (a + 3) * x * x + 1 : a * x * x * x - 5 * a * x * x + 8 * a * x - 4 * a;
}

// The weight of input position `at` for output position `i`, summing over every position that is moved to `at`.
double weight(Kind kind, int64_t in, int64_t out, int64_t i, int64_t at) {
  const double n = static_cast<double>(in), m = static_cast<double>(out), ratio = n / m;
  if (kind == Kind::bilinear || kind == Kind::bilinear_corners) {
    double source = kind == Kind::bilinear ? (static_cast<double>(i) + 0.5) * ratio - 0.5
                                           : (out == 1 ? 0 : static_cast<double>(i) * (n - 1) / (m - 1));
    source = std::min(std::max(source, 0.0), n - 1);
    return std::max(0.0, 1 - std::fabs(source - static_cast<double>(at)));  // the hat function
  }
  const double source = (static_cast<double>(i) + 0.5) * ratio - 0.5;
  if (kind == Kind::bicubic) {
    double sum = 0;
    for (int64_t j = -3; j < in + 3; ++j)
      if (std::min(std::max<int64_t>(j, 0), in - 1) == at) sum += cubic(source - static_cast<double>(j), -0.75);
    return sum;
  }
  const double stretch = std::max(1.0, ratio);
  double total = 0;
  for (int64_t j = 0; j < in; ++j) total += cubic((source - static_cast<double>(j)) / stretch, -0.5);
  return cubic((source - static_cast<double>(at)) / stretch, -0.5) / total;
}

Tensor forward(Kind kind, const Tensor& x, int64_t height, int64_t width) {
  if (kind == Kind::bilinear || kind == Kind::bilinear_corners)
    return resize_bilinear(x, height, width, kind == Kind::bilinear_corners);
  return resize_bicubic(x, height, width, kind == Kind::bicubic_antialias);
}

Tensor backward(Kind kind, const Tensor& dy, int64_t height, int64_t width) {
  if (kind == Kind::bilinear || kind == Kind::bilinear_corners)
    return resize_bilinear_bwd(dy, height, width, kind == Kind::bilinear_corners);
  return resize_bicubic_bwd(dy, height, width, kind == Kind::bicubic_antialias);
}

struct Size {
  int64_t in_h, in_w, out_h, out_w;
};
const std::vector<Size> kSizes = {{7, 9, 14, 18}, {37, 37, 12, 20}, {5, 8, 5, 8}, {1, 1, 3, 4}, {6, 5, 1, 1},
    {19, 19, 37, 37}, {23, 4, 7, 31}};

}  // namespace

TEST_CASE("resize and its gradient match float64") {
  for_each_device_and_isa([&](Device& device, const std::string& where) {
    for (Kind kind : {Kind::bilinear, Kind::bilinear_corners, Kind::bicubic, Kind::bicubic_antialias}) {
      double worst[2][2] = {};
      for (const Size& s : kSizes) {
        for (DType dtype : {DType::f32, DType::bf16}) {
          Random random(static_cast<uint64_t>(s.in_h));
          const Sample x(device, {2, 3, s.in_h, s.in_w}, dtype, random),
              dy(device, {2, 3, s.out_h, s.out_w}, dtype, random);
          std::vector<double> y(dy.values.size(), 0), dx(x.values.size(), 0);
          for (int64_t i = 0; i < s.out_h; ++i)
            for (int64_t u = 0; u < s.in_h; ++u) {
              const double row = weight(kind, s.in_h, s.out_h, i, u);
              if (row == 0) continue;
              for (int64_t j = 0; j < s.out_w; ++j)
                for (int64_t v = 0; v < s.in_w; ++v) {
                  const double both = row * weight(kind, s.in_w, s.out_w, j, v);
                  for (int64_t plane = 0; plane < 6; ++plane) {
                    const auto to = static_cast<size_t>((plane * s.out_h + i) * s.out_w + j);
                    const auto from = static_cast<size_t>((plane * s.in_h + u) * s.in_w + v);
                    y[to] += both * x.values[from];
                    dx[from] += both * dy.values[to];
                  }
                }
            }
          double* at = worst[dtype == DType::f32 ? 0 : 1];
          const Tensor made = forward(kind, x.tensor, s.out_h, s.out_w);
          CHECK(made.shape() == dy.tensor.shape());
          at[0] = std::max(at[0], compare(read(made), y).relative);
          at[1] = std::max(at[1], compare(read(backward(kind, dy.tensor, s.in_h, s.in_w)), dx).relative);
        }
      }
      std::printf("  %s kind %d: f32 y %.3g dx %.3g, bf16 y %.3g dx %.3g\n", where.c_str(), static_cast<int>(kind),
          worst[0][0],
                  worst[0][1], worst[1][0], worst[1][1]);
      for (int i = 0; i < 2; ++i) {
        CHECK_LE(worst[0][i], 1.82e-7 * 1.05);  // worst observed
        CHECK_LE(worst[1][i], 0x1p-8);          // rounding to bf16: half a unit of the last place
      }
    }
  });
}

TEST_CASE("bicubic weights worked out by hand") {
  const std::shared_ptr<Device> device = make_device("cpu");
  const Tensor ramp = upload(*device, {1, 1, 1, 4}, DType::f32, {1, 2, 3, 4});
  // 4 -> 2, antialias: centre 1, support 4, all four positions. K(-1/4) = K(1/4) = 0.8671875, K(3/4) = 0.2265625,
  // K(5/4) = -0.0703125: y0 = (0.8671875 (1 + 2) + 0.2265625 * 3 - 0.0703125 * 4) / 1.890625.
  const std::vector<double> smooth = read(resize_bicubic(ramp, 1, 2, true));
  CHECK_LE(std::fabs(smooth[0] - 3.0 / 1.890625), 2e-7);
  CHECK_LE(std::fabs(smooth[1] - (5 - 3.0 / 1.890625)), 4e-7);
  // 4 -> 2, plain: halfway between positions 0 and 1, weights -3/32, 19/32, 19/32, -3/32 on (1, 1, 2, 3).
  const std::vector<double> plain = read(resize_bicubic(ramp, 1, 2, false));
  CHECK_LE(std::fabs(plain[0] - (-3.0 + 19 + 38 - 9) / 32), 2e-7);
}

TEST_CASE("resize without batch, with NaN, with wrong sizes") {
  const std::shared_ptr<Device> device = make_device("cpu");
  CHECK(resize_bilinear(Tensor::empty(*device, {0, 3, 4, 4}), 8, 2, false).shape() == Shape({0, 3, 8, 2}));
  CHECK(resize_bicubic(Tensor::empty(*device, {2, 0, 4, 4}), 8, 2, true).shape() == Shape({2, 0, 8, 2}));
  std::vector<float> values(16, 1);
  values[0] = std::numeric_limits<float>::quiet_NaN();
  const std::vector<double> y = read(resize_bilinear(upload(*device, {1, 1, 4, 4}, DType::f32, values), 8, 8, false));
  CHECK(std::isnan(y[0]) && std::isnan(y[9]) && !std::isnan(y[63]) && !std::isnan(y[4]));
  const Tensor x = Tensor::empty(*device, {1, 1, 4, 4});
  CHECK_THROWS(resize_bilinear(x, 0, 4, false));
  CHECK_THROWS(resize_bilinear(Tensor::empty(*device, {1, 1, 0, 4}), 4, 4, false));
  CHECK_THROWS(resize_bicubic(Tensor::empty(*device, {1, 4, 4}), 4, 4, false));
}

int main() { return run_all(); }
