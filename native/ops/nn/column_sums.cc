#include "native/ops/nn/column_sums.h"

#include <algorithm>

#include "native/core/thread_pool.h"
#include "native/ops/dispatch.h"

namespace rl {

namespace {

template <class T>
RL_VECTORIZED void add_rows(const T* x, float* sums, int64_t rows, int64_t dim) {
  for (int64_t row = 0; row < rows; ++row)
    for (int64_t i = 0; i < dim; ++i) sums[i] += to_float(x[row * dim + i]);
}

template <class T>
RL_VECTORIZED void sum_chunk_columns(const float* partial, T* out, int64_t chunks, int64_t dim, int64_t begin, int64_t end) {
  constexpr int64_t kBlock = 64;
  for (int64_t i = begin; i < end; i += kBlock) {
    const int64_t n = std::min(kBlock, end - i);
    float sums[kBlock] = {};
    for (int64_t c = 0; c < chunks; ++c)
      for (int64_t k = 0; k < n; ++k) sums[k] += partial[c * dim + i + k];
    for (int64_t k = 0; k < n; ++k) out[i + k] = from_float<T>(sums[k]);
  }
}

}  // namespace

void column_sums_cpu(const void* x, float* partial, void* out, int64_t rows, int64_t dim, DType dtype) {
  const int64_t chunks = chunks_of(rows);
  RL_DISPATCH_FLOAT(dtype, T, {
    ThreadPool::instance().parallel_for(chunks, grain_for(kRowsPerChunk * dim), [&](int64_t begin, int64_t end) {
      for (int64_t chunk = begin; chunk < end; ++chunk) {
        const int64_t first = chunk * kRowsPerChunk, last = std::min(first + kRowsPerChunk, rows);
        std::fill(partial + chunk * dim, partial + (chunk + 1) * dim, 0.0f);
        add_rows(static_cast<const T*>(x) + first * dim, partial + chunk * dim, last - first, dim);
      }
    });
  });
  sum_chunks_cpu(partial, out, 1, chunks, dim, dtype);
}

void sum_chunks_cpu(const float* partial, void* out, int64_t groups, int64_t chunks, int64_t dim, DType dtype) {
  RL_DISPATCH_FLOAT(dtype, T, {
    for (int64_t g = 0; g < groups; ++g) {
      T* row = static_cast<T*>(out) + g * dim;
      ThreadPool::instance().parallel_for(dim, std::max<int64_t>(64, grain_for(chunks)), [&](int64_t begin, int64_t end) {
        sum_chunk_columns(partial + g * chunks * dim, row, chunks, dim, begin, end);
      });
    }
  });
}

}  // namespace rl
