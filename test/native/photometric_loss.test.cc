// Photometric loss and its gradient against a float64 reference that convolves directly in two dimensions. Bounds: the worst
// seen, with and without fused multiply-add, times 1.05.
#include "native/core/thread_pool.h"
#include "native/ops/splat/photometric_loss.h"
#include "test/native/tensors.h"

using namespace rl;
using namespace rl::test;

namespace {

struct Size {
  int64_t height, width;
  int64_t pixels() const { return height * width; }
  Shape shape() const { return {3, height, width}; }
};

struct Reference {
  double l1 = 0, ssim = 0;
  Values gradient;
  double loss(double weight) const { return (1 - weight) * l1 + weight * (1 - ssim); }
};

double window(int64_t dy, int64_t dx) {
  static const double sum = [] {
    double line = 0;
    for (int d = -5; d <= 5; ++d) line += std::exp(-d * d / 4.5);
    return line * line;
  }();
  return std::abs(dy) > 5 || std::abs(dx) > 5 ? 0 : std::exp(-static_cast<double>(dy * dy + dx * dx) / 4.5) / sum;
}

// The definitions of the contract, window by window. The gradient scatters dS/dx of every window to its pixels, from
// S(mx, exx, exy) with exx = K*x^2, exy = K*xy: another route than the filtered maps of the kernels.
Reference reference(const Size& size, const Values& image, const Values& target, const Values& mask, double weight,
                    bool need_gradient) {
  const double c1 = 1e-4, c2 = 9e-4, count = static_cast<double>(3 * size.pixels());
  Reference out;
  Values x(image.size()), y(image.size());
  for (size_t i = 0; i < x.size(); ++i) {
    const double m = mask.empty() ? 1 : mask[i % static_cast<size_t>(size.pixels())];
    x[i] = m * image[i];
    y[i] = m * target[i];
    out.l1 += std::fabs(x[i] - y[i]) / count;
  }
  Values slope(x.size());
  for (int64_t c = 0; c < 3; ++c)
    for (int64_t row = 0; row < size.height; ++row)
      for (int64_t column = 0; column < size.width; ++column) {
        double mx = 0, my = 0, exx = 0, eyy = 0, exy = 0;
        const auto each = [&](const std::function<void(size_t, double)>& visit) {
          for (int64_t r = std::max<int64_t>(0, row - 5); r <= std::min(size.height - 1, row + 5); ++r)
            for (int64_t k = std::max<int64_t>(0, column - 5); k <= std::min(size.width - 1, column + 5); ++k)
              visit(static_cast<size_t>((c * size.height + r) * size.width + k), window(r - row, k - column));
        };
        each([&](size_t i, double w) {
          mx += w * x[i], my += w * y[i];
          exx += w * x[i] * x[i], eyy += w * y[i] * y[i], exy += w * x[i] * y[i];
        });
        const double a1 = 2 * mx * my + c1, a2 = 2 * (exy - mx * my) + c2;
        const double b1 = mx * mx + my * my + c1, b2 = exx - mx * mx + eyy - my * my + c2, s = a1 * a2 / (b1 * b2);
        out.ssim += s / count;
        if (!need_gradient) continue;
        const double dmx = s * (2 * my / a1 - 2 * my / a2 - 2 * mx / b1 + 2 * mx / b2), dexx = -s / b2, dexy = 2 * s / a2;
        each([&](size_t i, double w) { slope[i] += w * (dmx + 2 * x[i] * dexx + y[i] * dexy); });
      }
  if (!need_gradient) return out;
  out.gradient.resize(x.size());
  for (size_t i = 0; i < x.size(); ++i) {
    const double m = mask.empty() ? 1 : mask[i % static_cast<size_t>(size.pixels())];
    const double sign = x[i] > y[i] ? 1 : x[i] < y[i] ? -1 : 0;
    out.gradient[i] = m / count * ((1 - weight) * sign - weight * slope[i]);
  }
  return out;
}

struct Pictures {
  Values image, target, mask;
};

// A target of smooth shading and noise; an image that differs from it by noise and a shift of colour.
Pictures pictures(Random& random, const Size& size, bool masked) {
  Pictures out;
  for (int64_t c = 0; c < 3; ++c)
    for (int64_t row = 0; row < size.height; ++row)
      for (int64_t column = 0; column < size.width; ++column) {
        const double shade = 0.5 + 0.3 * std::sin(0.21 * static_cast<double>(row + c)) * std::cos(0.13 * static_cast<double>(column));
        out.target.push_back(rounded(shade + random.uniform(-0.1, 0.1), DType::f32));
        out.image.push_back(rounded(shade + 0.05 + random.uniform(-0.12, 0.12), DType::f32));
      }
  // Soft and hard values.
  for (int64_t i = 0; masked && i < size.pixels(); ++i)
    out.mask.push_back(rounded(std::clamp(random.uniform(-0.5, 1.5), 0.0, 1.0), DType::f32));
  return out;
}

std::vector<Tensor> run(Device& device, const Size& size, const Pictures& p, double weight) {
  const Tensor mask = p.mask.empty() ? Tensor() : upload(device, {size.height, size.width}, p.mask);
  return photometric_loss(upload(device, size.shape(), p.image), upload(device, size.shape(), p.target), mask, weight);
}

const std::vector<Size> kSizes = {{1, 1}, {1, 7}, {9, 1}, {3, 4}, {11, 11}, {17, 33}, {40, 37}, {16, 32}, {5, 131}};

}  // namespace

TEST_CASE("the reference gradient agrees with central differences") {
  Random random(1);
  const Size size{6, 9};
  for (bool masked : {false, true}) {
    const Pictures p = pictures(random, size, masked);
    const Values differences = central_differences(
        [&](const Values& x) { return reference(size, x, p.target, p.mask, 0.2, false).loss(0.2); }, p.image, 1e-6);
    const Values gradient = reference(size, p.image, p.target, p.mask, 0.2, true).gradient;
    CHECK_LE(Worst::note("reference against differences", compare(gradient, differences).relative), 9.3e-9);
  }
}

TEST_CASE("photometric_loss: terms and gradient against float64, with and without a mask") {
  Random random(2);
  for (const auto& device : test_devices())
    for (const Size& size : kSizes)
      for (bool masked : {false, true})
        for (double weight : {0.0, 0.2, 1.0}) {
          const Pictures p = pictures(random, size, masked);
          const Reference expected = reference(size, p.image, p.target, p.mask, weight, true);
          const auto found = run(*device, size, p, weight);
          CHECK_CLOSE("terms", found[0], (Values{expected.l1, expected.ssim}), 2.9e-7);
          CHECK_CLOSE("d_image", found[1], expected.gradient, 5.1e-6);
        }
}

TEST_CASE("photometric_loss: flat and extreme pictures") {
  for (const auto& device : test_devices()) {
    const Size size{14, 19};
    const size_t count = static_cast<size_t>(3 * size.pixels());
    for (const auto& [x, y] : {std::pair<double, double>{0, 0}, {1, 1}, {0, 1}, {0.25, 0.75}}) {
      const Pictures p{Values(count, x), Values(count, y), {}};
      const Reference expected = reference(size, p.image, p.target, {}, 0.2, true);
      const auto found = run(*device, size, p, 0.2);
      CHECK_CLOSE("terms of flat pictures", found[0], (Values{expected.l1, expected.ssim}), 3.3e-6);
      if (x == y) continue;
      // Where nothing varies S divides by C2 alone, and the cancellation in var x shows.
      CHECK_CLOSE("d_image of flat pictures", found[1], expected.gradient, 1.11e-5);
    }
  }
}

TEST_CASE("photometric_loss of identical pictures is 0, and so is its gradient") {
  Random random(3);
  for (const auto& device : test_devices()) {
    const Size size{23, 40};
    Pictures p = pictures(random, size, false);
    p.image = p.target;
    const auto l1 = run(*device, size, p, 0);
    CHECK(download(l1[0])[0] == 0);
    for (double value : download(l1[1])) CHECK(value == 0);
    const auto both = run(*device, size, p, 0.2);
    CHECK_LE(Worst::note("1 - SSIM of identical pictures", std::fabs(1 - download(both[0])[1])), 1.3e-7);
    // Every pixel would have 0.8 / n from L1 alone if its sign were not 0.
    double peak = 0;
    for (double value : download(both[1])) peak = std::max(peak, std::fabs(value));
    CHECK_LE(Worst::note("gradient of identical pictures, times n", peak * static_cast<double>(3 * size.pixels())), (device->is_cuda() ? 3 : 1) * 4.9e-6);
  }
}

TEST_CASE("photometric_loss: a mask of ones changes nothing, a mask of zeros removes all") {
  Random random(4);
  for (const auto& device : test_devices()) {
    const Size size{20, 29};
    Pictures p = pictures(random, size, false);
    const auto plain = run(*device, size, p, 0.2);
    p.mask.assign(static_cast<size_t>(size.pixels()), 1);
    const auto ones = run(*device, size, p, 0.2);
    CHECK(download(plain[0]) == download(ones[0]));
    CHECK(download(plain[1]) == download(ones[1]));
    p.mask.assign(static_cast<size_t>(size.pixels()), 0);
    const auto zeros = run(*device, size, p, 0.2);
    CHECK(download(zeros[0]) == (Values{0, 1}));
    for (double value : download(zeros[1])) CHECK(value == 0);
  }
}

TEST_CASE("photometric_loss gives the same bits in every run and for every number of threads") {
  Random random(5);
  const Size size{61, 75};
  const Pictures p = pictures(random, size, true);
  for (const auto& device : test_devices()) {
    const int threads = ThreadPool::instance().size();
    const auto first = run(*device, size, p, 0.2);
    const Values terms = download(first[0]), gradient = download(first[1]);
    for (int count : {1, 2, 5}) {
      ThreadPool::instance().set_size(count);
      const auto again = run(*device, size, p, 0.2);
      CHECK(download(again[0]) == terms);
      CHECK(download(again[1]) == gradient);
    }
    ThreadPool::instance().set_size(threads);
  }
}

TEST_CASE("photometric_loss: NaN reaches the terms and its windows, and no other pixel") {
  Random random(6);
  for (const auto& device : test_devices()) {
    const Size size{40, 40};
    Pictures p = pictures(random, size, false);
    p.image[static_cast<size_t>(20 * 40 + 20)] = NAN;
    for (double weight : {0.0, 0.2}) {
      const auto found = run(*device, size, p, weight);
      const Values terms = download(found[0]), gradient = download(found[1]);
      CHECK(std::isnan(terms[0]) && std::isnan(terms[1]));
      CHECK(std::isnan(gradient[20 * 40 + 20]));
      for (int64_t i = 0; i < 3 * size.pixels(); ++i) {
        const int64_t row = i / 40, column = i % 40;  // rows of planes 1 and 2 lie below 40
        if (std::max(std::abs(row - 20), std::abs(column - 20)) > 10) CHECK(std::isfinite(gradient[static_cast<size_t>(i)]));
      }
    }
  }
}

TEST_CASE("photometric_loss: empty pictures, wrong arguments") {
  for (const auto& device : test_devices()) {
    for (const Shape& shape : {Shape{3, 0, 5}, Shape{3, 5, 0}}) {
      const Tensor none = upload(*device, shape, {});
      const auto found = photometric_loss(none, none, Tensor(), 0.2);
      CHECK(download(found[0]) == (Values{0, 1}));
      CHECK(found[1].shape() == shape);
    }
    const Tensor x = upload(*device, {3, 2, 4}, Values(24)), mask = upload(*device, {2, 4}, Values(8));
    CHECK_THROWS(photometric_loss(upload(*device, {1, 2, 4}, Values(8)), upload(*device, {1, 2, 4}, Values(8)), Tensor(), 0.2));
    CHECK_THROWS(photometric_loss(x, upload(*device, {3, 4, 2}, Values(24)), Tensor(), 0.2));
    CHECK_THROWS(photometric_loss(x, upload(*device, {3, 2, 4}, Values(24), DType::bf16), Tensor(), 0.2));
    CHECK_THROWS(photometric_loss(x, Tensor(), Tensor(), 0.2));
    CHECK_THROWS(photometric_loss(x, x, x, 0.2));
    CHECK_THROWS(photometric_loss(x, x, mask, 1.1));
    CHECK_THROWS(photometric_loss(x, x, mask, NAN));
  }
}

int main() { return run_all(); }
