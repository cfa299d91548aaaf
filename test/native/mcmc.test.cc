// Noise and relocation of Gaussian splatting as Markov chain Monte Carlo: formulas in wider precision, statistics, identities.
#include "native/core/thread_pool.h"
#include "native/ops/splat/mcmc_noise.h"
#include "native/ops/splat/mcmc_relocation.h"
#include "native/ops/train/random.h"
#include "test/native/tensors.h"

using namespace rl;
using namespace rl::test;

namespace {

struct Cloud {
  int64_t count;
  Values means, quats, log_scales, opacity_logits;
};

Cloud cloud(Random& random, int64_t count) {
  Cloud out{count, normals(random, {count, 3}), normals(random, {count, 4}), normals(random, {count, 3}, DType::f32, 0.6, -0.3), {}};
  out.opacity_logits = normals(random, {count}, DType::f32, 1, -5);
  return out;
}

Values noised(Device& device, const Cloud& c, double rate, int64_t seed, int64_t offset) {
  const Tensor means = upload(device, {c.count, 3}, c.means);
  mcmc_noise(means, upload(device, {c.count, 4}, c.quats), upload(device, {c.count, 3}, c.log_scales),
             upload(device, {c.count}, c.opacity_logits), rate, seed, offset);
  return download(means);
}

double weight(double logit) { return 1 / (1 + std::exp(100 * (1 / (1 + std::exp(-logit)) - 0.005))); }

// Sigma row-major, as sum over the axes of s_j^2 r_j r_j^T with r_j = q e_j q* by quaternion products.
Values covariance(const Values& quat, const Values& log_scale) {
  double norm = std::sqrt(inner(quat, quat));
  const Values q = {quat[0] / norm, quat[1] / norm, quat[2] / norm, quat[3] / norm};
  const auto product = [](const Values& a, const Values& b) {
    return Values{a[0] * b[0] - a[1] * b[1] - a[2] * b[2] - a[3] * b[3], a[0] * b[1] + a[1] * b[0] + a[2] * b[3] - a[3] * b[2],
                  a[0] * b[2] - a[1] * b[3] + a[2] * b[0] + a[3] * b[1], a[0] * b[3] + a[1] * b[2] - a[2] * b[1] + a[3] * b[0]};
  };
  Values out(9);
  for (size_t j = 0; j < 3; ++j) {
    Values axis(4);
    axis[j + 1] = 1;
    const Values r = product(product(q, axis), {q[0], -q[1], -q[2], -q[3]});
    for (size_t a = 0; a < 3; ++a)
      for (size_t b = 0; b < 3; ++b) out[3 * a + b] += std::exp(2 * log_scale[j]) * r[a + 1] * r[b + 1];
  }
  return out;
}

Values slice(const Values& values, int64_t begin, int64_t count) {
  return Values(values.begin() + begin, values.begin() + begin + count);
}

}  // namespace

TEST_CASE("mcmc_noise adds rate * sigmoid * Sigma * z with the draws of randn") {
  Random random(1);
  Device& cpu = *test_devices()[0];
  for (const auto& device : test_devices())
    for (int64_t offset : {int64_t{0}, int64_t{3}, int64_t{5}, (int64_t{1} << 40) + 2}) {
      const Cloud c = cloud(random, 301);
      const Tensor draws = upload(cpu, {3 * c.count}, Values(static_cast<size_t>(3 * c.count)));
      randn(draws, 77, 0, offset, 0, 1);
      const Values z = download(draws);
      Values expected = c.means;
      for (int64_t i = 0; i < c.count; ++i) {
        const Values sigma = covariance(slice(c.quats, 4 * i, 4), slice(c.log_scales, 3 * i, 3));
        for (int64_t a = 0; a < 3; ++a)
          for (int64_t b = 0; b < 3; ++b)
            expected[static_cast<size_t>(3 * i + a)] += 0.8 * weight(c.opacity_logits[static_cast<size_t>(i)]) *
                                                       sigma[static_cast<size_t>(3 * a + b)] * z[static_cast<size_t>(3 * i + b)];
      }
      const Values found = noised(*device, c, 0.8, 77, offset);
      CHECK_LE(Worst::note("mcmc_noise " + device->name(), compare(found, expected).relative), 5.8e-8);
    }
}

TEST_CASE("mcmc_noise has mean 0 and the covariance (rate * sigmoid)^2 Sigma^2") {
  // One Gaussian many times. Sigma is symmetric, so Sigma z has the covariance Sigma Sigma^T = Sigma^2.
  const int64_t count = 200000;
  const Values quat = {0.5, -0.3, 0.7, 0.2}, log_scale = {-0.4, 0.2, -1.1};
  Cloud c{count, Values(static_cast<size_t>(3 * count)), {}, {}, Values(static_cast<size_t>(count), -5)};
  for (int64_t i = 0; i < count; ++i) {
    c.quats.insert(c.quats.end(), quat.begin(), quat.end());
    c.log_scales.insert(c.log_scales.end(), log_scale.begin(), log_scale.end());
  }
  const Values sigma = covariance(quat, log_scale);
  const double rate = 0.5 * weight(-5);
  for (const auto& device : test_devices()) {
    const Values found = noised(*device, c, 0.5, 9, 0);
    for (size_t a = 0; a < 3; ++a) {
      double mean = 0, variance_a = 0;
      for (size_t k = 0; k < 3; ++k) variance_a += rate * rate * sigma[3 * a + k] * sigma[3 * a + k];
      for (int64_t i = 0; i < count; ++i) mean += found[static_cast<size_t>(3 * i) + a] / static_cast<double>(count);
      // Four standard errors, here and below.
      CHECK_LE(std::fabs(mean), 4 * std::sqrt(variance_a / static_cast<double>(count)));
      for (size_t b = 0; b <= a; ++b) {
        double sampled = 0, exact = 0, variance_b = 0;
        for (size_t k = 0; k < 3; ++k) {
          exact += rate * rate * sigma[3 * a + k] * sigma[3 * b + k];
          variance_b += rate * rate * sigma[3 * b + k] * sigma[3 * b + k];
        }
        for (int64_t i = 0; i < count; ++i)
          sampled += found[static_cast<size_t>(3 * i) + a] * found[static_cast<size_t>(3 * i) + b] / static_cast<double>(count);
        CHECK_LE(std::fabs(sampled - exact), 4 * std::sqrt((variance_a * variance_b + exact * exact) / static_cast<double>(count)));
      }
    }
  }
}

TEST_CASE("mcmc_noise: opaque Gaussians stay, rate 0 moves nothing, broken ones keep their means") {
  Random random(2);
  for (const auto& device : test_devices()) {
    Cloud c = cloud(random, 6);
    CHECK(noised(*device, c, 0, 1, 0) == c.means);
    c.opacity_logits = Values(6, 2);
    CHECK(noised(*device, c, 100, 1, 0) == c.means);
    c.opacity_logits = Values(6, -8);
    for (size_t k = 0; k < 4; ++k) c.quats[k] = 0;
    c.log_scales[3] = NAN;
    c.log_scales[6] = 80;
    c.opacity_logits[3] = NAN;
    const Values found = noised(*device, c, 1, 1, 0);
    for (size_t i = 0; i < 12; ++i) CHECK(found[i] == c.means[i]);
    for (size_t i = 12; i < 18; ++i) CHECK(found[i] != c.means[i] && std::isfinite(found[i]));
  }
}

TEST_CASE("mcmc_noise is a function of seed and offset, for every number of threads and any cut") {
  Random random(3);
  const Cloud c = cloud(random, 4001);
  for (const auto& device : test_devices()) {
    const int threads = ThreadPool::instance().size();
    const Values first = noised(*device, c, 0.3, 5, 7);
    for (int size : {1, 2, 5}) {
      ThreadPool::instance().set_size(size);
      CHECK(noised(*device, c, 0.3, 5, 7) == first);
    }
    ThreadPool::instance().set_size(threads);
    CHECK(noised(*device, c, 0.3, 6, 7) != first);
    CHECK(noised(*device, c, 0.3, 5, 8) != first);
    // The tail alone, with the offset of its first Gaussian.
    const int64_t cut = 1234, rest = c.count - cut;
    const Cloud tail{rest, slice(c.means, 3 * cut, 3 * rest), slice(c.quats, 4 * cut, 4 * rest), slice(c.log_scales, 3 * cut, 3 * rest),
                     slice(c.opacity_logits, cut, rest)};
    CHECK(noised(*device, tail, 0.3, 5, 7 + 3 * cut) == slice(first, 3 * cut, 3 * rest));
  }
}

TEST_CASE("mcmc_relocation against the double sum in long double, for 1 to 51 copies") {
  Random random(4);
  const Values levels = {1e-6, 0.005, 0.05, 0.3, 0.7, 0.95, 0.999, 1 - 0x1p-24};
  Values opacities, copies;
  for (int n = 1; n <= kMaxCopies; ++n)
    for (double o : levels) opacities.push_back(rounded(o, DType::f32)), copies.push_back(n);
  const int64_t count = static_cast<int64_t>(copies.size());
  Values scales(static_cast<size_t>(3 * count));
  for (double& s : scales) s = rounded(std::exp(random.uniform(-6, 1)), DType::f32);
  for (const auto& device : test_devices()) {
    const auto found = mcmc_relocation(upload(*device, {count}, opacities), upload(*device, {count, 3}, scales),
                                       upload(*device, {count}, copies, DType::i32));
    const Values new_opacities = download(found[0]), new_scales = download(found[1]);
    double opacity_error = 0, scale_error = 0, merged_error = 0;
    for (size_t i = 0; i < opacities.size(); ++i) {
      const int n = static_cast<int>(copies[i]);
      const long double o = opacities[i], fresh = 1 - powl(1 - o, 1.0L / n);
      long double sum = 0;
      for (int j = 1; j <= n; ++j) {
        long double binomial = 1, power = fresh;
        for (int k = 0; k < j; ++k) {
          sum += binomial * (k % 2 == 0 ? 1 : -1) * power / sqrtl(k + 1.0L);
          binomial = binomial * (j - 1 - k) / (k + 1);
          power *= fresh;
        }
      }
      opacity_error = std::max<double>(opacity_error, fabsl(new_opacities[i] - fresh) / fresh);
      merged_error = std::max<double>(merged_error, fabsl(1 - powl(1 - new_opacities[i], n) - o));
      for (size_t k = 0; k < 3; ++k) {
        const long double expected = scales[3 * i + k] * o / sum;
        scale_error = std::max<double>(scale_error, fabsl(new_scales[3 * i + k] - expected) / expected);
      }
      if (n > 1) continue;
      CHECK(new_opacities[i] == opacities[i]);
      for (size_t k = 0; k < 3; ++k) CHECK(new_scales[3 * i + k] == scales[3 * i + k]);
    }
    CHECK_LE(Worst::note("relocated opacity", opacity_error), 5.85e-8);
    CHECK_LE(Worst::note("relocated scale", scale_error), 5.9e-8);
    // The N copies, merged, have the opacity of the original, up to the f32 rounding of theirs.
    CHECK_LE(Worst::note("opacity of the merged copies", merged_error), 2.2e-8);
  }
}

TEST_CASE("mcmc_relocation: opacities at the ends, NaN, copies out of range, shapes") {
  for (const auto& device : test_devices()) {
    const auto run = [&](double opacity, double copies) {
      const auto found = mcmc_relocation(upload(*device, {1}, {opacity}), upload(*device, {1, 3}, {1, 2, 4}),
                                         upload(*device, {1}, {copies}, DType::i32));
      Values out = download(found[0]);
      for (double s : download(found[1])) out.push_back(s);
      return out;
    };
    CHECK(run(0, 5) == (Values{0, 1, 2, 4}));
    CHECK(run(1, 1) == (Values{1, 1, 2, 4}));
    CHECK(run(1, 51) == run(1 - 0x1p-24, 51));
    for (double value : run(NAN, 3)) CHECK(std::isnan(value));
    for (double copies : {0.0, 52.0, -1.0}) {
      if (device->is_cuda()) {
        for (double value : run(0.5, copies)) CHECK(std::isnan(value));
      } else {
        CHECK_THROWS(run(0.5, copies));
      }
    }
    const auto zeros = [&](const Shape& shape, DType dtype = DType::f32) {
      return upload(*device, shape, Values(static_cast<size_t>(shape.numel())), dtype);
    };
    const auto none = mcmc_relocation(zeros({0}), zeros({0, 3}), zeros({0}, DType::i32));
    CHECK(none[0].numel() == 0 && none[1].shape() == (Shape{0, 3}));
    CHECK_THROWS(mcmc_relocation(zeros({2}), zeros({2}), zeros({2}, DType::i32)));
    CHECK_THROWS(mcmc_relocation(zeros({2}), zeros({2, 3}), zeros({2})));
    CHECK_THROWS(mcmc_relocation(zeros({2}), zeros({2, 3}), zeros({3}, DType::i32)));
    mcmc_noise(zeros({0, 3}), zeros({0, 4}), zeros({0, 3}), zeros({0}), 1, 0, 0);
    CHECK_THROWS(mcmc_noise(zeros({2, 3}), zeros({2, 3}), zeros({2, 3}), zeros({2}), 1, 0, 0));
    CHECK_THROWS(mcmc_noise(zeros({2, 3}), zeros({2, 4}), zeros({2, 3}), zeros({2}, DType::bf16), 1, 0, 0));
    CHECK_THROWS(mcmc_noise(zeros({2, 3}), zeros({2, 4}), zeros({2, 3}), zeros({2}), -1, 0, 0));
    CHECK_THROWS(mcmc_noise(zeros({2, 3}), zeros({2, 4}), zeros({2, 3}), zeros({2}), 1, -1, 0));
  }
}

int main() { return run_all(); }
