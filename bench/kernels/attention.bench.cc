// Attention speed on the CPU, forward and backward: one JSON line per case. Usage: attention.bench [shape]
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <string>
#include <vector>

#include "native/backend/cpu/attention.h"
#include "native/backend/cpu/bf16.h"
#include "native/backend/cpu/cpu_features.h"
#include "native/core/thread_pool.h"

using namespace rl::cpu;

namespace {

struct Case {
  int64_t batch, heads, length, d;
  bool causal;
};

double seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

template <class Call>
void measure(const char* op, const std::string& shape, bool half, double flops, const Call& call) {
  const int inner = std::max(1, static_cast<int>(2e7 / flops));
  double best = 1e9;
  const double stop = seconds() + 0.4;
  for (int i = 0; i < 4 || seconds() < stop; ++i) {
    const double start = seconds();
    for (int j = 0; j < inner; ++j) call();
    if (i > 0) best = std::min(best, (seconds() - start) / inner);
  }
  std::printf("{\"op\":\"%s\",\"shape\":\"%s\",\"dtype\":\"%s\",\"ms\":%.5f,\"gflops\":%.1f,\"isa\":\"%s\",\"threads\":%d}\n",
              op, shape.c_str(), half ? "bf16" : "f32", best * 1e3, flops / best * 1e-9, isa_name(best_isa()),
              rl::ThreadPool::instance().size());
  std::fflush(stdout);
}

void run(const Case& test, bool half, const char* only) {
  const std::string shape = std::to_string(test.batch) + "x" + std::to_string(test.heads) + "x" +
                            std::to_string(test.length) + "x" + std::to_string(test.d) + (test.causal ? "_causal" : "");
  if (only && shape != only) return;
  const int64_t count = test.batch * test.heads * test.length * test.d;
  auto fill = [&] {
    std::vector<char> data(static_cast<size_t>(count) * (half ? 2 : 4));
    for (int64_t i = 0; i < count; ++i) {
      const float value = static_cast<float>(i * 7919 % 1009) / 500.0f - 1.0f;
      if (half) reinterpret_cast<bf16*>(data.data())[i] = to_bf16(value);
      else reinterpret_cast<float*>(data.data())[i] = value;
    }
    return data;
  };
  std::vector<char> q = fill(), k = fill(), v = fill(), out = fill(), dout = fill(), dq = fill(), dk = fill(), dv = fill();
  std::vector<float> lse(static_cast<size_t>(test.batch * test.heads * test.length));
  AttentionArgs a;
  a.batch = test.batch, a.heads = test.heads, a.lq = a.lk = test.length, a.d = test.d;
  a.scale = 1 / std::sqrt(static_cast<float>(test.d)), a.causal = test.causal;
  a.type = half ? ElementType::bf16 : ElementType::f32, a.compute = half ? Compute::bf16 : Compute::f32;
  a.q = q.data(), a.k = k.data(), a.v = v.data(), a.out = out.data(), a.lse = lse.data();
  const double flops = 4.0 * static_cast<double>(count) * static_cast<double>(test.length) * (test.causal ? 0.5 : 1);
  measure("attention", shape, half, flops, [&] { attention_forward(a); });
  const AttentionGradArgs g{a, dout.data(), dq.data(), dk.data(), dv.data(), nullptr};
  measure("attention_backward", shape, half, flops * 2.5, [&] { attention_backward(g); });
}

}  // namespace

int main(int argc, char** argv) {
  for (bool half : {false, true})
    for (const Case& test : {Case{1, 16, 4096, 64, false}, Case{1, 16, 4096, 64, true}, Case{1, 1, 1024, 512, false},
                             Case{4, 4, 153, 32, false}, Case{9, 4, 36, 32, false}})
      run(test, half, argc > 1 ? argv[1] : nullptr);
}
