// Random numbers: the generator against its published vectors, its elementary functions against the C library, the fill
// against single draws, its moments against theory.
#include "native/core/rng.h"
#include "native/core/thread_pool.h"
#include "native/ops/train/random.h"
#include "test/native/tensors.h"

using namespace rl;
using namespace rl::test;

TEST_CASE("philox4x32-10 gives the known answers of Random123") {
  const auto check = [](const Philox4& found, const std::vector<uint32_t>& expected) {
    for (int k = 0; k < 4; ++k) CHECK(found.v[k] == expected[static_cast<size_t>(k)]);
  };
  check(philox4x32(0, 0, 0), {0x6627e8d5u, 0xe169c58du, 0xbc57ac4cu, 0x9b00dbd8u});
  check(philox4x32(~0ull, ~0ull, ~0ull), {0x408f276du, 0x41c83b0eu, 0xa20bc7c6u, 0x6d5451fdu});
  check(philox4x32(0x85a308d3243f6a88ull, 0x0370734413198a2eull, 0x299f31d0a4093822ull), {0xd16cfe09u, 0x94fdccebu, 0x5001e420u, 0x24126ea1u});
}

TEST_CASE("philox_log and philox_cos_sin agree with the C library to a few units of the last place") {
  double log_error = 0, angle_error = 0;
  for (uint32_t k = 0; k < 1u << 24; k += 97) {
    const double u = static_cast<double>(philox_uniform(k << 8));
    double c, s;
    philox_cos_sin(u, &c, &s);
    log_error = std::max(log_error, std::fabs(philox_log(u) - std::log(u)) / std::max(1e-7, -std::log(u)));
    const long double angle = 6.283185307179586476925286766559L * u;
    angle_error = std::max<double>(angle_error, std::max(fabsl(c - cosl(angle)), fabsl(s - sinl(angle))));
  }
  Worst::note("log relative", log_error);
  Worst::note("cos, sin absolute", angle_error);
  CHECK_LE(log_error, 3.84e-16);
  CHECK_LE(angle_error, 1.76e-16);
}

TEST_CASE("randn and randu: element i is draw offset + i, on every device and thread count") {
  for_each_device_and_dtype([&](Device& device, DType dtype) {
    for (const auto& [offset, count] : {std::pair<int64_t, int64_t>{0, 1}, {0, 4099}, {3, 6}, {5, 1}, {4, 8}, {(int64_t{1} << 40) + 2, 33}}) {
      Values normal, uniform;
      for (int64_t i = offset; i < offset + count; ++i) {
        float draws[4];
        philox_normal4(11, 5, static_cast<uint64_t>(i / 4), draws);
        normal.push_back(rounded(2 + 0.5 * static_cast<double>(draws[i % 4]), dtype));
        uniform.push_back(rounded(-1 + 3 * static_cast<double>(philox_uniform(philox4x32(static_cast<uint64_t>(i / 4), 5, 11).v[i % 4])), dtype));
      }
      Tensor x = upload(device, {count}, Values(static_cast<size_t>(count)), dtype);
      randn(x, 11, 5, offset, 2, 0.5);
      CHECK_MSG(download(x) == normal, offset << " " << count << " " << device.name());
      randu(x, 11, 5, offset, -1, 2);
      CHECK_MSG(download(x) == uniform, offset << " " << count << " " << device.name());
    }
  });
  Device& cpu = *test_devices()[0];
  const int threads = ThreadPool::instance().size();
  std::vector<Values> runs;
  for (int size : {1, 3}) {
    ThreadPool::instance().set_size(size);
    const Tensor x = upload(cpu, {30011}, Values(30011));
    randn(x, 1, 2, 3, 0, 1);
    runs.push_back(download(x));
  }
  ThreadPool::instance().set_size(threads);
  CHECK(runs[0] == runs[1]);
}

TEST_CASE("randn has the moments and the distribution of a normal variable") {
  Device& cpu = *test_devices()[0];
  const int64_t n = 1000000;
  const Tensor x = upload(cpu, {n}, Values(n));
  randn(x, 42, 0, 0, 0, 1);
  Values values = download(x);
  double m1 = 0, m2 = 0, m3 = 0, m4 = 0, lag = 0;
  for (size_t i = 0; i < values.size(); ++i) {
    const double v = values[i];
    m1 += v, m2 += v * v, m3 += v * v * v, m4 += v * v * v * v;
    if (i > 0) lag += v * values[i - 1];
  }
  // Four standard errors: sqrt(1, 2, 15, 96, 1) / 1000 each.
  CHECK_LE(std::fabs(m1 / n), 0.004);
  CHECK_LE(std::fabs(m2 / n - 1), 0.0057);
  CHECK_LE(std::fabs(m3 / n), 0.0155);
  CHECK_LE(std::fabs(m4 / n - 3), 0.0392);
  CHECK_LE(std::fabs(lag / n), 0.004);
  // Kolmogorov-Smirnov at the 0.1 % level.
  std::sort(values.begin(), values.end());
  double distance = 0;
  for (size_t i = 0; i < values.size(); ++i)
    distance = std::max(distance, std::fabs(0.5 * std::erfc(-values[i] / std::sqrt(2.0)) - static_cast<double>(i) / n));
  CHECK_LE(distance, 1.95 / std::sqrt(static_cast<double>(n)));
}

TEST_CASE("randn: empty tensors, wrong arguments") {
  Device& cpu = *test_devices()[0];
  randn(upload(cpu, {0}, {}), 1, 0, 0, 0, 1);
  CHECK_THROWS(randn(upload(cpu, {1}, {0}), -1, 0, 0, 0, 1));
  CHECK_THROWS(randu(upload(cpu, {1}, {0}, DType::i32), 1, 0, 0, 0, 1));
}

int main() { return run_all(); }
