// Kernel benches: warm-up, repetitions until a time budget, median with 10th and 90th percentile, one JSON line a case.
//
//   int main(int argc, char** argv) {
//     return rl::bench::run(argc, argv, [](rl::bench::Bench& b) {
//       b.time("relu", "flux", {10880, 3072}, {.bytes = …, .flops = …}, [&] {
//         return [x = b.normal({10880, 3072})] { relu(x); };          // set-up, then what is timed
//       });
//     });
//   }
//
// The body runs for the CPU and, where the build and the machine have one, for the first CUDA device, in f32 and bf16. On
// CUDA each call is timed by events with the L2 cache flushed before it; on the CPU calls are repeated until a sample is
// long enough for the clock. Inputs are standard normal: zeros read too fast on GPUs. Options: --help.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "native/backend/cpu/cpu_features.h"
#include "native/core/tensor.h"
#include "native/core/thread_pool.h"
#include "native/ops/elem/fill.h"
#include "native/ops/train/random.h"
#if RL_WITH_CUDA
#include <cuda_runtime.h>

#include "native/backend/cuda/cuda_device.h"
#include "native/backend/cuda/cuda_info.h"
#endif

namespace rl::bench {

// A named size of a real network.
struct Case {
  std::string name;
  Shape shape;
};

// What one call moves and computes, by the formulas of the op's contract.
struct Work {
  double bytes = 0;
  double flops = 0;
};

struct Options {
  std::string filter;       // runs cases whose "op case dtype" contains it
  std::string device;       // empty: all there are
  double seconds = 0.5;     // time budget of a case
  bool large = false;       // also run on the CPU what takes it seconds a call
};

class Bench {
 public:
  Bench(std::shared_ptr<Device> device, DType dtype, const Options& options)
      : device_(std::move(device)), dtype_(dtype), options_(options) {}

  Device& device() const { return *device_; }
  DType dtype() const { return dtype_; }
  bool is_cuda() const { return device_->is_cuda(); }
  // Bytes of an element of the dtype under test.
  double size() const { return static_cast<double>(size_of(dtype_)); }

  // Standard normal numbers of the dtype under test.
  Tensor normal(const Shape& shape) { return normal(shape, dtype_); }
  Tensor normal(const Shape& shape, DType dtype) {
    Tensor out = Tensor::empty(*device_, shape, dtype);
    randn(out, 1, ++stream_, 0, 0, 1);
    return out;
  }

  Tensor constant(const Shape& shape, double value, DType dtype) {
    Tensor out = Tensor::empty(*device_, shape, dtype);
    fill(out, value);
    return out;
  }

  Tensor ints(const Shape& shape, const std::vector<int32_t>& values) {
    Tensor out = Tensor::empty(*device_, shape, DType::i32);
    device_->upload(out.data(), values.data(), out.bytes());
    return out;
  }

  // Times the call that `set_up` returns and prints its line. `set_up` runs only when the case is asked for.
  template <class SetUp>
  void time(const std::string& op, const std::string& name, const Shape& shape, const Work& work, const SetUp& set_up) {
    const std::string full = op + " " + name + " " + name_of(dtype_);
    if (full.find(options_.filter) == std::string::npos) return;
    constexpr double kCpuFlops = 2e11, kCpuBytes = 1e9;
    if (!is_cuda() && !options_.large && (work.flops > kCpuFlops || work.bytes > kCpuBytes)) return;
    const auto call = set_up();
    std::vector<double> ms = is_cuda() ? cuda_samples(call) : cpu_samples(call);
    std::sort(ms.begin(), ms.end());
    print(op, name, shape, work, ms);
  }

 private:
  static double now_ms() {
    return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now().time_since_epoch()).count();
  }

  template <class Call>
  double cpu_sample(const Call& call, int calls) {
    const double start = now_ms();
    for (int i = 0; i < calls; ++i) call();
    device_->wait();
    return (now_ms() - start) / calls;
  }

  template <class Call>
  std::vector<double> cpu_samples(const Call& call) {
    device_->wait();
    const double stop = now_ms() + 1e3 * options_.seconds;
    const double first = std::min(cpu_sample(call, 1), cpu_sample(call, 1));
    // A sample of a millisecond hides the clock and the hand-over to the device's thread.
    const int calls = std::clamp(static_cast<int>(1 / std::max(first, 1e-4)), 1, 1000);
    std::vector<double> ms;
    while (ms.size() < 3 || now_ms() < stop) ms.push_back(cpu_sample(call, calls));
    return ms;
  }

#if RL_WITH_CUDA
  static void check(cudaError_t status) {
    RL_CHECK(status == cudaSuccess, code::kDevice, "CUDA: ", cudaGetErrorString(status));
  }

  template <class Call>
  std::vector<double> cuda_samples(const Call& call) {
    constexpr int kWarmUps = 10;
    cudaEvent_t start, end;
    check(cudaEventCreate(&start));
    check(cudaEventCreate(&end));
    const cudaStream_t stream = cuda_stream(*device_);
    // Larger than any L2; its write also gives the host a head start, so that launches do not show in short kernels.
    const Tensor flush = Tensor::empty(*device_, {int64_t{256} << 20}, DType::u8);
    for (int i = 0; i < kWarmUps; ++i) call();
    device_->wait();
    std::vector<double> ms;
    const double stop = now_ms() + 1e3 * options_.seconds;
    while (ms.size() < 20 || (now_ms() < stop && ms.size() < 2000)) {
      fill(flush, static_cast<double>(ms.size() % 2));
      check(cudaEventRecord(start, stream));
      call();
      check(cudaEventRecord(end, stream));
      check(cudaEventSynchronize(end));
      float elapsed = 0;
      check(cudaEventElapsedTime(&elapsed, start, end));
      ms.push_back(static_cast<double>(elapsed));
    }
    check(cudaEventDestroy(start));
    check(cudaEventDestroy(end));
    return ms;
  }

  // Share of the card's datasheet limit, the nearer of memory and arithmetic; 0 for a card that is not in the list.
  double percent_of_peak(const Work& work, double ms) const {
    struct Card { const char* name; double gbs, tf32_tflops, bf16_tflops; };
    // Dense peaks: NVIDIA H100 and H200 data sheets.
    static const Card cards[] = {{"H100", 3350, 495, 989}, {"H200", 4800, 495, 989}};
    const std::string& name = cuda_info().devices.empty() ? device_->name() : cuda_info().devices[0];
    for (const Card& card : cards) {
      if (name.find(card.name) == std::string::npos) continue;
      const double arithmetic = dtype_ == DType::bf16 ? card.bf16_tflops : card.tf32_tflops;
      return 100 * std::max(work.bytes / ms * 1e-6 / card.gbs, work.flops / ms * 1e-9 / arithmetic);
    }
    return 0;
  }
#else
  template <class Call>
  std::vector<double> cuda_samples(const Call&) { return {}; }
  double percent_of_peak(const Work&, double) const { return 0; }
#endif

  void print(const std::string& op, const std::string& name, const Shape& shape, const Work& work,
             const std::vector<double>& ms) const {
    const auto quantile = [&](double q) { return ms[static_cast<size_t>(q * static_cast<double>(ms.size() - 1) + 0.5)]; };
    const double median = quantile(0.5), peak = is_cuda() ? percent_of_peak(work, median) : 0;
    std::printf("{\"op\":\"%s\",\"case\":\"%s\",\"dtype\":\"%s\",\"shape\":\"%s\",\"device\":\"%s\",\"isa\":\"%s\",\"threads\":%d,"
                "\"ms\":{\"p10\":%.5g,\"p50\":%.5g,\"p90\":%.5g},\"samples\":%zu,\"bytes\":%.0f,\"flops\":%.0f,"
                "\"gbs\":%.4g,\"gflops\":%.4g",
                op.c_str(), name.c_str(), name_of(dtype_), shape.to_string().c_str(), device_->name().c_str(),
                is_cuda() ? "cuda" : cpu::isa_name(cpu::best_isa()), ThreadPool::instance().size(), quantile(0.1), median,
                quantile(0.9), ms.size(), work.bytes, work.flops, work.bytes / median * 1e-6, work.flops / median * 1e-6);
    if (peak > 0) std::printf(",\"pctPeak\":%.1f", peak);
    std::printf("}\n");
    std::fflush(stdout);
  }

  std::shared_ptr<Device> device_;
  DType dtype_;
  Options options_;
  int64_t stream_ = 0;
};

// Parses the command line and calls `body` for every device and dtype. -> exit status
template <class Body>
int run(int argc, char** argv, const Body& body) {
  Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string key = argv[i];
    const bool valued = i + 1 < argc;
    if (key == "--filter" && valued) options.filter = argv[++i];
    else if (key == "--device" && valued) options.device = argv[++i];
    else if (key == "--seconds" && valued) options.seconds = std::atof(argv[++i]);
    else if (key == "--large") options.large = true;
    else {
      std::fprintf(stderr, "usage: %s [--filter TEXT in \"op case dtype\"] [--device cpu|cuda] [--seconds 0.5 a case] "
                           "[--large: on the CPU too, sizes that take it seconds]\n", argv[0]);
      return key == "--help" ? 0 : 2;
    }
  }
  try {
    std::vector<std::string> devices{"cpu"};
#if RL_WITH_CUDA
    if (cuda_info().unavailable.empty() && cuda_info().device_count > 0) devices.push_back("cuda");
#endif
    if (!options.device.empty()) devices = {options.device};
    for (const std::string& spec : devices) {
      const auto device = make_device(spec);
      for (DType dtype : {DType::f32, DType::bf16}) {
        Bench bench(device, dtype, options);
        body(bench);
      }
    }
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s: %s\n", argv[0], error.what());
    return 1;
  }
  return 0;
}

}  // namespace rl::bench
