#include "native/ops/nn/embedding.h"

#include <cstring>
#include <vector>

#include "native/core/thread_pool.h"
#include "native/ops/check.h"
#include "native/ops/dispatch.h"
#include "native/ops/registry.h"

namespace rl {

namespace {

void check_ids(const char* op, const int32_t* ids, int64_t count, int64_t vocabulary) {
  for (int64_t i = 0; i < count; ++i)
    RL_CHECK(ids[i] >= 0 && ids[i] < vocabulary, code::kShape, op, ": ids[", i, "] is ", ids[i],
             ", expected 0 to ", vocabulary - 1, " (the table has ", vocabulary, " rows)");
}

}  // namespace

void embedding_cpu(const EmbeddingArgs& a) {
  check_ids("embedding", a.ids, a.count, a.vocabulary);
  const size_t bytes = static_cast<size_t>(a.dim) * size_of(a.dtype);
  if (bytes == 0) return;
  ThreadPool::instance().parallel_for(a.count, grain_for(a.dim), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i)
      std::memcpy(static_cast<char*>(a.y) + static_cast<size_t>(i) * bytes,
                  static_cast<const char*>(a.table) + static_cast<size_t>(a.ids[i]) * bytes, bytes);
  });
}

void embedding_bwd_cpu(const EmbeddingBwdArgs& a) {
  check_ids("embedding_bwd", a.ids, a.count, a.vocabulary);
  // The ids of every table row in rising order (counting sort), so that each row is summed by one thread.
  std::vector<int64_t> starts(static_cast<size_t>(a.vocabulary) + 1, 0);
  for (int64_t i = 0; i < a.count; ++i) ++starts[static_cast<size_t>(a.ids[i]) + 1];
  for (int64_t v = 0; v < a.vocabulary; ++v) starts[static_cast<size_t>(v) + 1] += starts[static_cast<size_t>(v)];
  std::vector<int64_t> places(static_cast<size_t>(a.count)), next(starts.begin(), starts.end() - 1);
  for (int64_t i = 0; i < a.count; ++i) places[static_cast<size_t>(next[static_cast<size_t>(a.ids[i])]++)] = i;
  RL_DISPATCH_FLOAT(a.dtype, T, {
    ThreadPool::instance().parallel_for(a.vocabulary, grain_for(a.dim), [&](int64_t begin, int64_t end) {
      std::vector<float> sums(static_cast<size_t>(a.dim));
      for (int64_t v = begin; v < end; ++v) {
        sums.assign(static_cast<size_t>(a.dim), 0.0f);
        for (int64_t p = starts[static_cast<size_t>(v)]; p < starts[static_cast<size_t>(v) + 1]; ++p) {
          const T* row = static_cast<const T*>(a.dy) + places[static_cast<size_t>(p)] * a.dim;
          for (int64_t k = 0; k < a.dim; ++k) sums[static_cast<size_t>(k)] += to_float(row[k]);
        }
        T* out = static_cast<T*>(a.dtable) + v * a.dim;
        for (int64_t k = 0; k < a.dim; ++k) out[k] = from_float<T>(sums[static_cast<size_t>(k)]);
      }
    });
  });
}

Tensor embedding(const Tensor& ids, const Tensor& table) {
  check_dtype("embedding", "ids", ids, DType::i32);
  check_float("embedding", "table", table);
  check_rank("embedding", "table", table, 2);
  check_device("embedding", "ids", ids, table);
  Shape shape = ids.shape();
  shape.push_back(table.size(1));
  Tensor y = Tensor::empty(table.device(), shape, table.dtype());
  const EmbeddingArgs args{ids.as<int32_t>(), table.data(), y.data(), ids.numel(), table.size(0), table.size(1), table.dtype()};
  RL_LAUNCH(table.device(), "embedding", embedding_cpu(args), embedding_cuda(args, cuda_stream(table.device())));
  return y;
}

Tensor embedding_bwd(const Tensor& dy, const Tensor& ids, int64_t vocabulary) {
  check_float("embedding_bwd", "dy", dy);
  check_dtype("embedding_bwd", "ids", ids, DType::i32);
  RL_CHECK(dy.rank() >= 1 && vocabulary >= 0, code::kShape, "embedding_bwd: dy is ", dy.shape(), ", vocabulary ", vocabulary);
  const int64_t dim = dy.size(-1);
  Shape expected = ids.shape();
  expected.push_back(dim);
  check_shape("embedding_bwd", "dy", dy, expected, ids);
  check_device("embedding_bwd", "ids", ids, dy);
  Tensor dtable = Tensor::empty(dy.device(), {vocabulary, dim}, dy.dtype());
  const EmbeddingBwdArgs args{dy.data(), ids.as<int32_t>(), dtable.data(), ids.numel(), vocabulary, dim, dy.dtype()};
  RL_LAUNCH(dy.device(), "embedding_bwd", embedding_bwd_cpu(args), embedding_bwd_cuda(args, cuda_stream(dy.device())));
  return dtable;
}

RL_OP(embedding);
RL_OP(embedding_bwd);

}  // namespace rl
