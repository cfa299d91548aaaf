#include "native/ops/elem/slice.h"

#include <cstring>

#include "native/core/thread_pool.h"
#include "native/ops/check.h"
#include "native/ops/dispatch.h"
#include "native/ops/registry.h"

namespace rl {

namespace {

int dim_of(const char* op, const Tensor& x, int64_t dim) {
  const int64_t d = dim < 0 ? dim + x.rank() : dim;
  RL_CHECK(d >= 0 && d < x.rank(), code::kShape, op, ": x ", x.shape(), " has no dimension ", dim);
  return static_cast<int>(d);
}

// Bytes of one index of dimension d.
int64_t bytes_behind(const Tensor& x, int d) {
  return x.shape().numel(d + 1, x.rank()) * static_cast<int64_t>(size_of(x.dtype()));
}

void launch(Device& device, const SliceArgs& args) {
  if (args.outer == 0 || args.run == 0) return;
  RL_LAUNCH(device, "slice", slice_cpu(args), slice_cuda(args, cuda_stream(device)));
}

}  // namespace

void slice_cpu(const SliceArgs& args) {
  const char* source = static_cast<const char*>(args.source);
  char* target = static_cast<char*>(args.target);
  // Long runs are cut, so that one large run is copied by all threads.
  constexpr int64_t kPiece = 1 << 18;
  const int64_t pieces = (args.run + kPiece - 1) / kPiece;
  ThreadPool::instance().parallel_for(args.outer * pieces, grain_for(std::min(args.run, kPiece) / 4),
                                      [=](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) {
      const int64_t o = task / pieces, first = task % pieces * kPiece;
      std::memcpy(target + o * args.target_step + first, source + o * args.source_step + first,
                  static_cast<size_t>(std::min(kPiece, args.run - first)));
    }
  });
}

Tensor slice(const Tensor& x, int64_t dim, int64_t start, int64_t length) {
  check_defined("slice", "x", x);
  const int d = dim_of("slice", x, dim);
  RL_CHECK(start >= 0 && length >= 0 && start <= x.size(d) - length, code::kShape, "slice: [", start, ", ",
           start + length, ") does not fit dimension ", d, " of x ", x.shape());
  Shape shape = x.shape();
  shape[d] = length;
  Tensor y = Tensor::empty(x.device(), shape, x.dtype());
  const int64_t unit = bytes_behind(x, d);
  launch(x.device(), {static_cast<const char*>(x.data()) + start * unit, y.data(), x.shape().numel(0, d), length * unit,
                      x.size(d) * unit, length * unit});
  return y;
}

std::vector<Tensor> place(const Tensor& out, const Tensor& x, int64_t dim, int64_t start) {
  check_defined("place", "out", out);
  check_defined("place", "x", x);
  check_like("place", "x", x, out);
  const int d = dim_of("place", out, dim);
  bool fits = x.rank() == out.rank();
  for (int i = 0; fits && i < out.rank(); ++i) fits = i == d || x.size(i) == out.size(i);
  RL_CHECK(fits, code::kShape, "place: x ", x.shape(), " must equal out ", out.shape(), " except in dimension ", d);
  RL_CHECK(start >= 0 && start <= out.size(d) - x.size(d), code::kShape, "place: [", start, ", ", start + x.size(d),
           ") does not fit dimension ", d, " of out ", out.shape());
  const int64_t unit = bytes_behind(out, d);
  launch(out.device(), {x.data(), static_cast<char*>(out.data()) + start * unit, out.shape().numel(0, d), x.size(d) * unit,
                        x.size(d) * unit, out.size(d) * unit});
  return {};
}

RL_OP(slice);
RL_OP(place);

}  // namespace rl
