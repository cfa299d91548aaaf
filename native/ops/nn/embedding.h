// Table lookup: y[i] = table[ids[i]].
//
//   ids    [...]       i32, 0 <= id < V
//   table  [V, C]      f32 or bf16
//   y      [..., C]    dtype of table
// Backward: dtable[v] = Σ_{i: ids[i] = v} dy[i], in rising i.
//
// Ids are read when the op runs: on the CPU a bad id fails the next wait with ERR_SHAPE, on CUDA it gives a row of NaN (and
// no gradient).
// Precision: copies; the gradient is summed in f32 and rounded once.
// Tolerance: see test/native/embedding.test.cc (forward exact).
// Bytes: 2 · n · C · size forward.   FLOPs: n · C backward.
#pragma once

#include "native/core/tensor.h"
#if RL_WITH_CUDA
#include <cuda_runtime.h>
#endif

namespace rl {

struct EmbeddingArgs {
  const int32_t* ids;  // [count]
  const void* table;   // [vocabulary, dim]
  void* y;             // [count, dim]
  int64_t count, vocabulary, dim;
  DType dtype;
};

struct EmbeddingBwdArgs {
  const void* dy;      // [count, dim]
  const int32_t* ids;  // [count]
  void* dtable;        // [vocabulary, dim]
  int64_t count, vocabulary, dim;
  DType dtype;
};

void embedding_cpu(const EmbeddingArgs& a);
void embedding_bwd_cpu(const EmbeddingBwdArgs& a);
#if RL_WITH_CUDA
void embedding_cuda(const EmbeddingArgs& a, cudaStream_t stream);
void embedding_bwd_cuda(const EmbeddingBwdArgs& a, cudaStream_t stream);
#endif

Tensor embedding(const Tensor& ids, const Tensor& table);
// -> dtable [vocabulary, C]
Tensor embedding_bwd(const Tensor& dy, const Tensor& ids, int64_t vocabulary);

}  // namespace rl
