#include "native/ops/elem/index_rows.h"

#include <cstring>
#include <vector>

#include "native/core/thread_pool.h"
#include "native/ops/check.h"
#include "native/ops/dispatch.h"
#include "native/ops/registry.h"

namespace rl {

namespace {

void check_ids(const char* op, const IndexRowsArgs& a) {
  for (int64_t m = 0; m < a.picked; ++m)
    RL_CHECK(a.ids[m] >= 0 && a.ids[m] < a.rows, code::kShape, op, ": ids[", m, "] is ", a.ids[m], ", expected [0, ",
             a.rows, ")");
}

}  // namespace

void index_rows_cpu(const IndexRowsArgs& a) {
  check_ids("index_rows", a);
  const size_t bytes = static_cast<size_t>(a.width) * size_of(a.dtype);
  ThreadPool::instance().parallel_for(a.picked, grain_for(a.width), [&](int64_t begin, int64_t end) {
    for (int64_t m = begin; m < end; ++m)
      std::memcpy(static_cast<char*>(a.out) + static_cast<size_t>(m) * bytes,
                  static_cast<const char*>(a.source) + static_cast<size_t>(a.ids[m]) * bytes, bytes);
  });
}

void index_rows_bwd_cpu(const IndexRowsArgs& a) {
  check_ids("index_rows_bwd", a);
  RL_DISPATCH_FLOAT(a.dtype, T, {
    // Threads own columns: each adds all of dy's rows in order.
    ThreadPool::instance().parallel_for(a.width, grain_for(a.rows + a.picked), [&](int64_t begin, int64_t end) {
      const int64_t columns = end - begin;
      std::vector<float> sums(static_cast<size_t>(a.rows * columns), 0.0f);
      for (int64_t m = 0; m < a.picked; ++m) {
        const T* dy = static_cast<const T*>(a.source) + m * a.width + begin;
        float* sum = sums.data() + a.ids[m] * columns;
        for (int64_t c = 0; c < columns; ++c) sum[c] += to_float(dy[c]);
      }
      for (int64_t n = 0; n < a.rows; ++n) {
        T* dx = static_cast<T*>(a.out) + n * a.width + begin;
        for (int64_t c = 0; c < columns; ++c) dx[c] = from_float<T>(sums[static_cast<size_t>(n * columns + c)]);
      }
    });
  });
}

Tensor index_rows(const Tensor& x, const Tensor& ids) {
  check_float("index_rows", "x", x);
  RL_CHECK(x.rank() >= 1, code::kShape, "index_rows: x must have at least one dimension");
  check_dtype("index_rows", "ids", ids, DType::i32);
  check_rank("index_rows", "ids", ids, 1);
  RL_CHECK(&ids.device() == &x.device(), code::kShape, "index_rows: ids are on ", ids.device().name(), " but x is on ",
           x.device().name());
  Shape shape = x.shape();
  shape[0] = ids.size(0);
  Tensor y = Tensor::empty(x.device(), shape, x.dtype());
  const IndexRowsArgs args{x.data(), ids.as<int32_t>(), y.data(), x.size(0), ids.size(0), x.shape().numel(1, x.rank()),
                           x.dtype()};
  if (args.picked == 0 || args.width == 0) return y;
  RL_LAUNCH(x.device(), "index_rows", index_rows_cpu(args), index_rows_cuda(args, cuda_stream(x.device())));
  return y;
}

Tensor index_rows_bwd(const Tensor& dy, const Tensor& ids, int64_t rows) {
  check_float("index_rows_bwd", "dy", dy);
  check_dtype("index_rows_bwd", "ids", ids, DType::i32);
  check_rank("index_rows_bwd", "ids", ids, 1);
  RL_CHECK(dy.rank() >= 1 && dy.size(0) == ids.size(0), code::kShape, "index_rows_bwd: dy ", dy.shape(),
           " must have a row for each of the ids ", ids.shape());
  Shape shape = dy.shape();
  shape[0] = rows;
  Tensor dx = Tensor::empty(dy.device(), shape, dy.dtype());
  const IndexRowsArgs args{dy.data(), ids.as<int32_t>(), dx.data(), rows, ids.size(0), dy.shape().numel(1, dy.rank()),
                           dy.dtype()};
  if (args.rows == 0 || args.width == 0) return dx;
  RL_LAUNCH(dy.device(), "index_rows_bwd", index_rows_bwd_cpu(args), index_rows_bwd_cuda(args, cuda_stream(dy.device())));
  return dx;
}

RL_OP(index_rows);
RL_OP(index_rows_bwd);

}  // namespace rl
