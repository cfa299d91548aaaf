#include "native/ops/elem/cast.h"

#include "native/core/thread_pool.h"
#include "native/ops/check.h"
#include "native/ops/dispatch.h"
#include "native/ops/registry.h"

namespace rl {

namespace {

inline void convert(const float* x, float* y, int64_t n) { std::copy(x, x + n, y); }
inline void convert(const float* x, cpu::bf16* y, int64_t n) { cpu::to_bf16(x, y, n); }
inline void convert(const cpu::bf16* x, float* y, int64_t n) { cpu::to_float(x, y, n); }
inline void convert(const cpu::bf16* x, cpu::bf16* y, int64_t n) { std::copy(x, x + n, y); }
template <class From, class To>
inline void convert(const From* x, To* y, int64_t n) {
  for (int64_t i = 0; i < n; ++i) y[i] = from_float<To>(static_cast<float>(x[i]));
}

template <class From>
void run(const CastArgs& args) {
  RL_DISPATCH_FLOAT(args.to, To, {
    const From* x = static_cast<const From*>(args.x);
    To* y = static_cast<To*>(args.y);
    ThreadPool::instance().parallel_for(args.count, 32768,
                                        [=](int64_t begin, int64_t end) { convert(x + begin, y + begin, end - begin); });
  });
}

}  // namespace

void cast_cpu(const CastArgs& args) {
  switch (args.from) {
    case DType::f32: return run<float>(args);
    case DType::bf16: return run<cpu::bf16>(args);
    case DType::i32: return run<int32_t>(args);
    default: return run<uint8_t>(args);
  }
}

Tensor cast(const Tensor& x, const std::string& dtype) {
  check_defined("cast", "x", x);
  const DType from = x.dtype(), to = dtype_from_name(dtype);
  const bool known = from == DType::f32 || from == DType::bf16 || from == DType::i32 || from == DType::u8;
  RL_CHECK(known && (to == DType::f32 || to == DType::bf16), code::kShape, "cast: no conversion from ", name_of(from),
           " to ", dtype, "; expected f32, bf16, i32 or u8 to f32 or bf16");
  Tensor y = Tensor::empty(x.device(), x.shape(), to);
  if (y.numel() == 0) return y;
  const CastArgs args{x.data(), y.data(), x.numel(), from, to};
  RL_LAUNCH(x.device(), "cast", cast_cpu(args), cast_cuda(args, cuda_stream(x.device())));
  return y;
}

RL_OP(cast);

}  // namespace rl
