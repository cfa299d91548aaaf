// GEMM speed on the CPU: one JSON line per case. Usage: gemm.bench [filter] (a text that the shape must contain).
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "native/backend/cpu/bf16.h"
#include "native/backend/cpu/cpu_features.h"
#include "native/backend/cpu/gemm.h"
#include "native/core/thread_pool.h"

using namespace rl::cpu;

namespace {

struct Case {
  int64_t m, n, k;
  bool half, transpose_a, transpose_b;
};

double seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

void run(const Case& test, const char* filter) {
  const std::string shape = std::to_string(test.m) + "x" + std::to_string(test.n) + "x" + std::to_string(test.k) +
                            (test.transpose_a ? "_t" : "_n") + (test.transpose_b ? "t" : "n");
  if (filter && shape.find(filter) == std::string::npos) return;
  const ElementType type = test.half ? ElementType::bf16 : ElementType::f32;
  const int64_t bytes = test.half ? 2 : 4;
  // Small values everywhere: the time does not depend on them, but subnormals and NaN would.
  auto fill = [&](int64_t count) {
    std::vector<char> data(static_cast<size_t>(count * bytes));
    for (int64_t i = 0; i < count; ++i) {
      const float value = static_cast<float>(i * 7 % 13) * 0.1f - 0.6f;
      if (test.half) reinterpret_cast<bf16*>(data.data())[i] = to_bf16(value);
      else reinterpret_cast<float*>(data.data())[i] = value;
    }
    return data;
  };
  std::vector<char> a = fill(test.m * test.k), b = fill(test.n * test.k), c = fill(test.m * test.n);
  GemmArgs g;
  g.m = test.m, g.n = test.n, g.k = test.k;
  g.a = {a.data(), type, test.transpose_a ? test.m : test.k, test.transpose_a};
  g.b = {b.data(), type, test.transpose_b ? test.k : test.n, test.transpose_b};
  g.c = c.data(), g.c_type = type, g.c_row_stride = test.n;
  g.compute = test.half ? Compute::bf16 : Compute::f32;
  const double flops = 2.0 * static_cast<double>(test.m) * static_cast<double>(test.n) * static_cast<double>(test.k);
  // Best of many: the machine may be shared. About 0.4 s per case, at least three runs.
  const int inner = std::max(1, static_cast<int>(2e7 / flops));
  double best = 1e9;
  const double stop = seconds() + 0.4;
  for (int i = 0; i < 4 || seconds() < stop; ++i) {
    const double start = seconds();
    for (int j = 0; j < inner; ++j) gemm(g);
    if (i > 0) best = std::min(best, (seconds() - start) / inner);
  }
  std::printf("{\"op\":\"gemm\",\"shape\":\"%s\",\"dtype\":\"%s\",\"ms\":%.5f,\"gflops\":%.1f,\"isa\":\"%s\",\"threads\":%d}\n",
              shape.c_str(), test.half ? "bf16" : "f32", best * 1e3, flops / best * 1e-9, isa_name(best_isa()),
              rl::ThreadPool::instance().size());
  std::fflush(stdout);
}

}  // namespace

int main(int argc, char** argv) {
  const char* filter = argc > 1 ? argv[1] : nullptr;
  std::vector<Case> cases;
  for (bool half : {false, true}) {
    for (int64_t size : {1024, 2048, 4096}) cases.push_back({size, size, size, half, false, true});
    cases.push_back({1024, 1024, 1024, half, false, false});
    // Networks of this project: linear forward, input gradient, weight gradient, one row.
    cases.push_back({612, 384, 128, half, false, true});
    cases.push_back({612, 128, 512, half, false, true});
    cases.push_back({36, 128, 128, half, false, true});
    cases.push_back({5184, 64, 64, half, false, true});
    cases.push_back({5184, 256, 576, half, false, true});
    cases.push_back({612, 128, 384, half, false, false});
    cases.push_back({384, 128, 612, half, true, false});
    cases.push_back({64, 64, 5184, half, true, false});
    cases.push_back({1, 3072, 3072, half, false, true});
    cases.push_back({4, 768, 128, half, false, true});
    cases.push_back({1024, 3, 128, half, false, true});
  }
  for (const Case& test : cases) run(test, filter);
}
