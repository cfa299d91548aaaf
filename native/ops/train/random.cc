#include "native/ops/train/random.h"

#include "native/core/rng.h"
#include "native/core/thread_pool.h"
#include "native/ops/check.h"
#include "native/ops/dispatch.h"
#include "native/ops/registry.h"

namespace rl {

namespace {

void draw4(const RandomArgs& args, uint64_t block, float out[4]) {
  if (args.normal) return philox_normal4(args.seed, args.stream, block, out);
  const Philox4 bits = philox4x32(block, args.stream, args.seed);
  for (int k = 0; k < 4; ++k) out[k] = philox_uniform(bits.v[k]);
}

std::vector<Tensor> launch(const char* op, const Tensor& x, int64_t seed, int64_t stream, int64_t offset, double shift,
                           double factor, bool normal) {
  check_float(op, "x", x);
  RL_CHECK(seed >= 0 && stream >= 0 && offset >= 0, code::kConfig, op, ": seed ", seed, ", stream ", stream, " and offset ",
           offset, " must not be negative");
  if (x.numel() == 0) return {};
  const RandomArgs args{x.data(), x.numel(), static_cast<uint64_t>(seed), static_cast<uint64_t>(stream),
                        static_cast<uint64_t>(offset), shift, factor, normal, x.dtype()};
  RL_LAUNCH(x.device(), op, random_cpu(args), random_cuda(args, cuda_stream(x.device())));
  return {};
}

}  // namespace

void random_cpu(const RandomArgs& args) {
  RL_DISPATCH_FLOAT(args.dtype, T, {
    T* x = static_cast<T*>(args.x);
    ThreadPool::instance().parallel_for(args.count, 1024, [&](int64_t begin, int64_t end) {
      float draws[4];
      for (int64_t i = begin; i < end; ++i) {
        const uint64_t number = args.offset + static_cast<uint64_t>(i);
        if (i == begin || number % 4 == 0) draw4(args, number / 4, draws);
        x[i] = from_float<T>(static_cast<float>(args.shift + args.factor * draws[number % 4]));
      }
    });
  });
}

std::vector<Tensor> randn(const Tensor& x, int64_t seed, int64_t stream, int64_t offset, double mean, double std) {
  return launch("randn", x, seed, stream, offset, mean, std, true);
}
std::vector<Tensor> randu(const Tensor& x, int64_t seed, int64_t stream, int64_t offset, double low, double high) {
  return launch("randu", x, seed, stream, offset, low, high - low, false);
}

RL_OP(randn);
RL_OP(randu);

}  // namespace rl
