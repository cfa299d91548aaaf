#include "native/ops/nn/gated_residual.h"

#include <algorithm>

#include "native/core/thread_pool.h"
#include "native/ops/check.h"
#include "native/ops/dispatch.h"
#include "native/ops/registry.h"

namespace rl {

namespace {

template <class T>
RL_VECTORIZED void forward_row(const T* x, const T* gate, const T* branch, T* y, int64_t dim) {
  for (int64_t i = 0; i < dim; ++i) y[i] = from_float<T>(to_float(x[i]) + to_float(gate[i]) * to_float(branch[i]));
}

template <class T>
RL_VECTORIZED void branch_row(const T* dy, const T* gate, T* dbranch, int64_t dim) {
  for (int64_t i = 0; i < dim; ++i) dbranch[i] = from_float<T>(to_float(dy[i]) * to_float(gate[i]));
}

template <class T>
RL_VECTORIZED void gate_row(const T* dy, const T* branch, float* dgate, int64_t dim) {
  for (int64_t i = 0; i < dim; ++i) dgate[i] += to_float(dy[i]) * to_float(branch[i]);
}

}  // namespace

void gated_residual_cpu(const GatedResidualArgs& a) {
  RL_DISPATCH_FLOAT(a.dtype, T, {
    ThreadPool::instance().parallel_for(a.batch * a.rows, grain_for(a.dim), [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row)
        forward_row(static_cast<const T*>(a.x) + row * a.dim, static_cast<const T*>(a.gate) + row / a.rows * a.dim,
                    static_cast<const T*>(a.branch) + row * a.dim, static_cast<T*>(a.y) + row * a.dim, a.dim);
    });
  });
}

void gated_residual_bwd_cpu(const GatedResidualBwdArgs& a) {
  const int64_t chunks = chunks_of(a.rows);
  RL_DISPATCH_FLOAT(a.dtype, T, {
    ThreadPool::instance().parallel_for(a.batch * chunks, 1, [&](int64_t begin, int64_t end) {
      for (int64_t task = begin; task < end; ++task) {
        const int64_t item = task / chunks, first = (task % chunks) * kRowsPerChunk;
        const int64_t last = std::min(first + kRowsPerChunk, a.rows);
        float* partial = a.dgate != nullptr ? a.partial + task * a.dim : nullptr;
        if (partial != nullptr) std::fill(partial, partial + a.dim, 0.0f);
        for (int64_t row = item * a.rows + first; row < item * a.rows + last; ++row) {
          const T* dy = static_cast<const T*>(a.dy) + row * a.dim;
          if (a.dbranch != nullptr)
            branch_row(dy, static_cast<const T*>(a.gate) + item * a.dim, static_cast<T*>(a.dbranch) + row * a.dim, a.dim);
          if (partial != nullptr) gate_row(dy, static_cast<const T*>(a.branch) + row * a.dim, partial, a.dim);
        }
      }
    });
  });
  if (a.dgate != nullptr) sum_chunks_cpu(a.partial, a.dgate, a.batch, chunks, a.dim, a.dtype);
}

Tensor gated_residual(const Tensor& x, const Tensor& gate, const Tensor& branch) {
  check_float("gated_residual", "x", x);
  check_rank("gated_residual", "x", x, 3);
  check_shape("gated_residual", "gate", gate, {x.size(0), x.size(2)}, x);
  check_shape("gated_residual", "branch", branch, x.shape(), x);
  check_like("gated_residual", "gate", gate, x);
  check_like("gated_residual", "branch", branch, x);
  Tensor y = Tensor::empty(x.device(), x.shape(), x.dtype());
  const GatedResidualArgs args{x.data(), gate.data(), branch.data(), y.data(), x.size(0), x.size(1), x.size(2), x.dtype()};
  RL_LAUNCH(x.device(), "gated_residual", gated_residual_cpu(args), gated_residual_cuda(args, cuda_stream(x.device())));
  return y;
}

std::vector<Tensor> gated_residual_bwd(const Tensor& dy, const Tensor& gate, const Tensor& branch, bool need_dgate,
                                       bool need_dbranch) {
  check_float("gated_residual_bwd", "dy", dy);
  check_rank("gated_residual_bwd", "dy", dy, 3);
  check_shape("gated_residual_bwd", "gate", gate, {dy.size(0), dy.size(2)}, dy);
  check_like("gated_residual_bwd", "gate", gate, dy);
  if (need_dgate) check_shape("gated_residual_bwd", "branch", branch, dy.shape(), dy);
  check_like("gated_residual_bwd", "branch", branch, dy);
  Device& device = dy.device();
  Tensor dgate, dbranch, partial;
  if (need_dgate) {
    dgate = Tensor::empty(device, gate.shape(), dy.dtype());
    partial = Tensor::empty(device, {dy.size(0), chunks_of(dy.size(1)), dy.size(2)});
  }
  if (need_dbranch) dbranch = Tensor::empty(device, dy.shape(), dy.dtype());
  const GatedResidualBwdArgs args{dy.data(), gate.data(), branch.data(), dgate.data(), dbranch.data(), partial.as<float>(),
                                  dy.size(0), dy.size(1), dy.size(2), dy.dtype()};
  RL_LAUNCH(device, "gated_residual_bwd", gated_residual_bwd_cpu(args), gated_residual_bwd_cuda(args, cuda_stream(device)));
  return {dgate, dbranch};
}

RL_OP(gated_residual);
RL_OP(gated_residual_bwd);

}  // namespace rl
