// A small test harness for plain executables: named cases, checks that report and go on, float64 comparisons.
//
//   TEST_CASE("relu clamps negatives") { CHECK(relu(-1) == 0); }
//   int main() { return rl::test::run_all(); }
//
// The last line printed is `N passed, N failed` (cases); the exit status is 0 only if none failed.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <functional>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

namespace rl::test {

struct Case {
  std::string name;
  std::function<void()> body;
};

inline std::vector<Case>& cases() {
  static std::vector<Case> all;
  return all;
}

inline int& failures_in_case() {
  static int count = 0;
  return count;
}

struct Registrar {
  Registrar(std::string name, std::function<void()> body) { cases().push_back({std::move(name), std::move(body)}); }
};

inline void report_failure(const char* file, int line, const std::string& text) {
  ++failures_in_case();
  std::printf("  %s:%d: %s\n", file, line, text.c_str());
}

// Runs every case, or those whose name contains the text in RL3DEDIT_TEST_FILTER.
inline int run_all() {
  const char* filter = std::getenv("RL3DEDIT_TEST_FILTER");
  int passed = 0, failed = 0;
  for (const Case& test : cases()) {
    if (filter && test.name.find(filter) == std::string::npos) continue;
    failures_in_case() = 0;
    try {
      test.body();
    } catch (const std::exception& error) {
      report_failure("exception", 0, error.what());
    }
    const bool ok = failures_in_case() == 0;
    std::printf("%s %s\n", ok ? "ok  " : "FAIL", test.name.c_str());
    std::fflush(stdout);
    ++(ok ? passed : failed);
  }
  std::printf("%d passed, %d failed\n", passed, failed);
  return failed == 0 ? 0 : 1;
}

// splitmix64: small, seedable, the same numbers on every platform.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  uint64_t next() {
    uint64_t z = (state_ += 0x9E3779B97F4A7C15ull);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
    return z ^ (z >> 31);
  }
  double uniform(double low = 0, double high = 1) {
    return low + (high - low) * (static_cast<double>(next() >> 11) * 0x1p-53);
  }
  float normal() {  // Box-Muller
    const double radius = std::sqrt(-2 * std::log(1 - uniform()));
    return static_cast<float>(radius * std::cos(6.283185307179586 * uniform()));
  }
  std::vector<float> normals(int64_t count, float scale = 1) {
    std::vector<float> values(static_cast<size_t>(count));
    for (float& value : values) value = scale * normal();
    return values;
  }

 private:
  uint64_t state_;
};

// How far `actual` is from the float64 reference. A NaN on one side only makes every figure infinite.
struct Difference {
  double max_abs = 0;   // max |a - e|
  double relative = 0;  // max |a - e| / max(1e-6, max |e|): the measure of `parity`
  double nmse = 0;      // sum (a - e)^2 / max(tiny, sum e^2)
};

template <class Actual, class Expected>
Difference compare(const Actual* actual, const Expected* expected, int64_t count) {
  Difference out;
  double error2 = 0, energy = 0, peak = 0;
  for (int64_t i = 0; i < count; ++i) {
    const double a = static_cast<double>(actual[i]), e = static_cast<double>(expected[i]);
    if (std::isnan(a) && std::isnan(e)) continue;
    if (a == e) {  // also equal infinities
      if (std::isfinite(e)) energy += e * e, peak = std::max(peak, std::fabs(e));
      continue;
    }
    const double error = std::fabs(a - e);
    if (!(error < INFINITY)) {
      out.max_abs = out.relative = out.nmse = INFINITY;
      return out;
    }
    out.max_abs = std::max(out.max_abs, error);
    peak = std::max(peak, std::fabs(e));
    error2 += error * error;
    energy += e * e;
  }
  out.relative = out.max_abs / std::max(1e-6, peak);
  out.nmse = error2 / std::max(1e-300, energy);
  return out;
}

template <class A, class E>
Difference compare(const std::vector<A>& actual, const std::vector<E>& expected) {
  if (actual.size() != expected.size()) return {INFINITY, INFINITY, INFINITY};
  return compare(actual.data(), expected.data(), static_cast<int64_t>(actual.size()));
}

// A buffer with 1,024 sentinel elements on each side, to catch writes out of bounds.
template <class T>
class Guarded {
 public:
  static constexpr size_t kGuard = 1024;
  explicit Guarded(int64_t count, T fill = T{})
      : count_(static_cast<size_t>(count)), storage_((count_ + 2 * kGuard) * sizeof(T), kByte) {
    for (size_t i = 0; i < count_; ++i) data()[i] = fill;
  }
  explicit Guarded(const std::vector<T>& values) : Guarded(static_cast<int64_t>(values.size())) {
    if (count_) std::memcpy(data(), values.data(), count_ * sizeof(T));
  }
  T* data() { return reinterpret_cast<T*>(storage_.data()) + kGuard; }
  size_t size() const { return count_; }
  T& operator[](int64_t i) { return data()[i]; }
  std::vector<T> values() { return std::vector<T>(data(), data() + count_); }
  bool intact() const {
    const size_t guard = kGuard * sizeof(T);
    for (size_t i = 0; i < guard; ++i)
      if (storage_[i] != kByte || storage_[storage_.size() - 1 - i] != kByte) return false;
    return true;
  }

 private:
  static constexpr unsigned char kByte = 0xA5;
  size_t count_;
  std::vector<unsigned char> storage_;
};

}  // namespace rl::test

#define RL_TEST_JOIN2(a, b) a##b
#define RL_TEST_JOIN(a, b) RL_TEST_JOIN2(a, b)
#define RL_TEST_CASE(name, id)                                                        \
  static void RL_TEST_JOIN(test_body_, id)();                                         \
  static ::rl::test::Registrar RL_TEST_JOIN(test_case_, id)(name, RL_TEST_JOIN(test_body_, id)); \
  static void RL_TEST_JOIN(test_body_, id)()
#define TEST_CASE(name) RL_TEST_CASE(name, __LINE__)

#define CHECK(condition)                                                              \
  do {                                                                                \
    if (!(condition)) ::rl::test::report_failure(__FILE__, __LINE__, "CHECK(" #condition ")"); \
  } while (0)

// CHECK_MSG(ok, "shape " << m << "x" << n)
#define CHECK_MSG(condition, stream)                                                  \
  do {                                                                                \
    if (!(condition)) {                                                               \
      std::ostringstream message_;                                                    \
      message_ << "CHECK(" #condition "): " << stream;                                \
      ::rl::test::report_failure(__FILE__, __LINE__, message_.str());                 \
    }                                                                                 \
  } while (0)

// value <= bound, false for NaN; prints both.
#define CHECK_LE(value, bound)                                                        \
  do {                                                                                \
    const double value_ = (value), bound_ = (bound);                                  \
    if (!(value_ <= bound_)) {                                                        \
      std::ostringstream message_;                                                    \
      message_ << #value " = " << value_ << " > " << bound_;                          \
      ::rl::test::report_failure(__FILE__, __LINE__, message_.str());                 \
    }                                                                                 \
  } while (0)

#define CHECK_THROWS(expression)                                                      \
  do {                                                                                \
    bool threw_ = false;                                                              \
    try {                                                                             \
      expression;                                                                     \
    } catch (const std::exception&) {                                                 \
      threw_ = true;                                                                  \
    }                                                                                 \
    if (!threw_) ::rl::test::report_failure(__FILE__, __LINE__, "did not throw: " #expression); \
  } while (0)
