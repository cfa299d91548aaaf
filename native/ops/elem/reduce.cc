#include "native/ops/elem/reduce.h"

#include <cmath>

#include "native/core/thread_pool.h"
#include "native/ops/check.h"
#include "native/ops/dispatch.h"
#include "native/ops/registry.h"

namespace rl {

namespace {

constexpr int64_t kChunkElements = 32768;  // of one pass: enough work for a task, few enough partial sums
constexpr int64_t kColumns = 256;          // f64 accumulators held in the L1 cache
constexpr int64_t kShortRow = 32;          // rows not worth several sums
constexpr int kLanes = 8;                  // independent f64 sums along a contiguous run

enum class Fold { sum, squares, max };

// `a < v` is false for NaN on either side: `v != v` brings a NaN in, and it then stays.
template <Fold kFold>
inline double fold(double a, double v) {
  if constexpr (kFold == Fold::max) return (a < v) | (v != v) ? v : a;
  // The product of two f32 is exact in f64, so fused multiply-add gives the same bits.
  if constexpr (kFold == Fold::squares) return a + v * v;
  return a + v;
}
template <Fold kFold>
inline double combine(double a, double b) {
  return fold<kFold == Fold::max ? Fold::max : Fold::sum>(a, b);
}
template <Fold kFold>
constexpr double kStart = kFold == Fold::max ? -HUGE_VAL : 0.0;

template <class T, Fold kFold>
inline double fold_run(const T* x, int64_t count) {
  double lanes[kLanes];
  for (double& lane : lanes) lane = kStart<kFold>;
  const int64_t whole = count / kLanes * kLanes;
  for (int64_t i = 0; i < whole; i += kLanes)
    for (int k = 0; k < kLanes; ++k) lanes[k] = fold<kFold>(lanes[k], to_float(x[i + k]));
  for (int64_t i = whole; i < count; ++i) lanes[i - whole] = fold<kFold>(lanes[i - whole], to_float(x[i]));
  for (int step = kLanes / 2; step > 0; step /= 2)
    for (int k = 0; k < step; ++k) lanes[k] = combine<kFold>(lanes[k], lanes[k + step]);
  return lanes[0];
}

// out[c] = fold of x[r * inner + c] over rows, for columns [0, columns).
template <class T, Fold kFold>
inline void fold_columns(const T* x, int64_t rows, int64_t inner, int64_t columns, double* out) {
  for (int64_t c = 0; c < columns; ++c) out[c] = kStart<kFold>;
  for (int64_t r = 0; r < rows; ++r) {
    const T* row = x + r * inner;
    for (int64_t c = 0; c < columns; ++c) out[c] = fold<kFold>(out[c], to_float(row[c]));
  }
}

// Short rows: the sum of each, straight to the output.
template <class T, class Out, Fold kFold>
void short_rows(const ReduceArgs& a) {
  const T* x = static_cast<const T*>(a.x);
  Out* out = static_cast<Out*>(a.out);
  ThreadPool::instance().parallel_for(a.outer, grain_for(a.count), [&](int64_t begin, int64_t end) {
    for (int64_t o = begin; o < end; ++o) {
      const T* row = x + o * a.count;
      double value = kStart<kFold>;
      for (int64_t i = 0; i < a.count; ++i) value = fold<kFold>(value, to_float(row[i]));
      out[o] = from_float<Out>(static_cast<float>(value * a.scale));
    }
  });
}

template <class T, Fold kFold>
void first_stage(const ReduceArgs& a) {
  const T* x = static_cast<const T*>(a.x);
  const int64_t blocks = (a.inner + kColumns - 1) / kColumns;
  const int64_t grain = std::max<int64_t>(1, 16384 / std::max<int64_t>(1, std::min(a.count, a.chunk_rows) * std::min(a.inner, kColumns)));
  ThreadPool::instance().parallel_for(a.outer * a.chunks * blocks, grain, [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) {
      const int64_t block = task % blocks, chunk = task / blocks % a.chunks, o = task / blocks / a.chunks;
      const int64_t first = chunk * a.chunk_rows, rows = std::min(a.chunk_rows, a.count - first);
      const int64_t column = block * kColumns, columns = std::min(kColumns, a.inner - column);
      const T* source = x + (o * a.count + first) * a.inner + column;
      double* target = a.partial + (o * a.chunks + chunk) * a.inner + column;
      if (a.inner == 1) {
        *target = fold_run<T, kFold>(source, rows);
      } else {
        fold_columns<T, kFold>(source, rows, a.inner, columns, target);
      }
    }
  });
}

template <class T, Fold kFold>
void second_stage(const ReduceArgs& a) {
  T* out = static_cast<T*>(a.out);
  ThreadPool::instance().parallel_for(a.outer * a.inner, grain_for(a.chunks), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const double* partial = a.partial + i / a.inner * a.chunks * a.inner + i % a.inner;
      double value = kStart<kFold>;
      for (int64_t chunk = 0; chunk < a.chunks; ++chunk) value = combine<kFold>(value, partial[chunk * a.inner]);
      out[i] = from_float<T>(static_cast<float>(value * a.scale));
    }
  });
}

template <Fold kFold>
void run(const ReduceArgs& a) {
  if (a.inner == 1 && a.count <= kShortRow) {
    RL_DISPATCH_FLOAT(a.in_dtype, T, { RL_DISPATCH_FLOAT(a.out_dtype, Out, { short_rows<T, Out, kFold>(a); }); });
    return;
  }
  RL_DISPATCH_FLOAT(a.in_dtype, T, { first_stage<T, kFold>(a); });
  RL_DISPATCH_FLOAT(a.out_dtype, T, { second_stage<T, kFold>(a); });
}

ReduceKind kind_from_name(const std::string& name) {
  static constexpr const char* kNames[] = {"sum", "mean", "max", "sum_squares"};
  for (int i = 0; i < 4; ++i)
    if (name == kNames[i]) return static_cast<ReduceKind>(i);
  throw Error(code::kConfig, str("reduce: unknown kind '", name, "', expected sum, mean, max or sum_squares"));
}

Tensor pass(const Tensor& x, int64_t outer, int64_t count, int64_t inner, ReduceKind kind, double scale, DType dtype) {
  Device& device = x.device();
  Tensor out = Tensor::empty(device, {outer, inner}, dtype);
  if (out.numel() == 0) return out;
  const int64_t rows = std::clamp<int64_t>(kChunkElements / std::min(inner, kColumns), 1, 2048);
  const int64_t chunks = std::max<int64_t>(1, (count + rows - 1) / rows);
  Tensor partial = Tensor::empty(device, {outer, chunks, inner}, DType::f64);
  const ReduceArgs args{x.data(), out.data(), partial.as<double>(), outer, count, inner, chunks, rows, scale, kind,
                        x.dtype(), dtype};
  RL_LAUNCH(device, "reduce", reduce_cpu(args), reduce_cuda(args, cuda_stream(device)));
  return out;
}

}  // namespace

void reduce_cpu(const ReduceArgs& args) {
  switch (args.kind) {
    case ReduceKind::max: return run<Fold::max>(args);
    case ReduceKind::sum_squares: return run<Fold::squares>(args);
    default: return run<Fold::sum>(args);
  }
}

Tensor reduce(const Tensor& x, const std::string& kind, const std::vector<int64_t>& dims, bool keep) {
  const ReduceKind op = kind_from_name(kind);
  check_float("reduce", "x", x);
  const int rank = x.rank();
  bool reduced[Shape::kMaxRank] = {};
  for (int64_t dim : dims) {
    const int64_t d = dim < 0 ? dim + rank : dim;
    RL_CHECK(d >= 0 && d < rank, code::kShape, kind, ": x ", x.shape(), " has no dimension ", dim);
    RL_CHECK(!reduced[d], code::kShape, kind, ": dimension ", dim, " of x ", x.shape(), " is listed twice");
    reduced[d] = true;
  }
  if (dims.empty()) std::fill(reduced, reduced + rank, true);
  Shape shape;
  int64_t total = 1;
  for (int d = 0; d < rank; ++d) {
    if (reduced[d]) total *= x.size(d);
    if (!reduced[d] || keep) shape.push_back(reduced[d] ? 1 : x.size(d));
  }
  const DType dtype = op == ReduceKind::sum_squares ? DType::f32 : x.dtype();
  const double scale = op == ReduceKind::mean ? 1.0 / static_cast<double>(total) : 1.0;

  // Runs of reduced dimensions from the last to the first; `inner` is the product of the kept sizes behind the run.
  Tensor value = x;
  ReduceKind step = op;
  int64_t inner = 1;
  bool done = false;
  for (int last = rank - 1; last >= 0;) {
    if (!reduced[last]) {
      inner *= x.size(last--);
      continue;
    }
    int first = last;
    while (first > 0 && reduced[first - 1]) --first;
    bool more = false;
    for (int d = 0; d < first; ++d) more = more || reduced[d];
    value = pass(value, x.shape().numel(0, first), x.shape().numel(first, last + 1), inner, step, more ? 1.0 : scale,
                 more ? DType::f32 : dtype);
    if (op == ReduceKind::sum_squares) step = ReduceKind::sum;
    done = true;
    last = first - 1;
  }
  if (!done) value = pass(x, x.numel(), 1, 1, op, scale, dtype);  // a scalar: nothing to reduce, the function still applies
  return value.reshape(shape);
}

RL_OP(reduce);

}  // namespace rl
