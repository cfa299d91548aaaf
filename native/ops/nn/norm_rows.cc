#include "native/ops/nn/norm_rows.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "native/core/thread_pool.h"
#include "native/ops/dispatch.h"

namespace rl {

namespace {

constexpr int kLanes = 32;

// out[0] = mean, out[1] = 1/sqrt(var + eps). Two passes: the difference of E[x²] and E[x]² would cancel.
template <class T>
RL_VECTORIZED void moments(const T* x, int64_t dim, float eps, float* out) {
  const int64_t whole = dim / kLanes * kLanes;
  float lanes[kLanes] = {};
  for (int64_t i = 0; i < whole; i += kLanes)
    for (int k = 0; k < kLanes; ++k) lanes[k] += to_float(x[i + k]);
  float sum = 0;
  for (float lane : lanes) sum += lane;
  for (int64_t i = whole; i < dim; ++i) sum += to_float(x[i]);
  const float mean = sum / static_cast<float>(dim);
  float squares[kLanes] = {};
  for (int64_t i = 0; i < whole; i += kLanes)
    for (int k = 0; k < kLanes; ++k) {
      const float d = to_float(x[i + k]) - mean;
      squares[k] += d * d;
    }
  float square = 0;
  for (float lane : squares) square += lane;
  for (int64_t i = whole; i < dim; ++i) {
    const float d = to_float(x[i]) - mean;
    square += d * d;
  }
  out[0] = mean;
  out[1] = 1.0f / std::sqrt(square / static_cast<float>(dim) + eps);
}

template <class T>
RL_VECTORIZED void apply_row(const T* x, const float* gain, const float* shift, float mean, float r, T* y, int64_t dim) {
  for (int64_t i = 0; i < dim; ++i) y[i] = from_float<T>((to_float(x[i]) - mean) * r * gain[i] + shift[i]);
}

// out[0] = Σ g, out[1] = Σ g x̂
template <class T>
RL_VECTORIZED void gradient_sums(const T* dy, const T* x, const float* gain, float mean, float r, int64_t dim, float* out) {
  const int64_t whole = dim / kLanes * kLanes;
  float plain[kLanes] = {}, along[kLanes] = {};
  for (int64_t i = 0; i < whole; i += kLanes)
    for (int k = 0; k < kLanes; ++k) {
      const float g = to_float(dy[i + k]) * gain[i + k];
      plain[k] += g;
      along[k] += g * ((to_float(x[i + k]) - mean) * r);
    }
  float sum = 0, sum_along = 0;
  for (int k = 0; k < kLanes; ++k) sum += plain[k], sum_along += along[k];
  for (int64_t i = whole; i < dim; ++i) {
    const float g = to_float(dy[i]) * gain[i];
    sum += g;
    sum_along += g * ((to_float(x[i]) - mean) * r);
  }
  out[0] = sum;
  out[1] = sum_along;
}

template <class T>
RL_VECTORIZED void gradient_row(const T* dy, const T* x, const float* gain, float mean, float r, float m, float m_along,
                                T* dx, int64_t dim) {
  for (int64_t i = 0; i < dim; ++i)
    dx[i] = from_float<T>(r * (to_float(dy[i]) * gain[i] - m - (to_float(x[i]) - mean) * r * m_along));
}

template <class T>
RL_VECTORIZED void accumulate_row(const T* dy, const T* x, float mean, float r, float* dgain, float* dshift, int64_t dim) {
  for (int64_t i = 0; i < dim; ++i) {
    const float g = to_float(dy[i]);
    dgain[i] += g * ((to_float(x[i]) - mean) * r);
    dshift[i] += g;
  }
}

template <class T>
RL_VECTORIZED void fill_row(const T* in, float offset, float* out, int64_t dim) {
  for (int64_t i = 0; i < dim; ++i) out[i] = to_float(in[i]) + offset;
}

// One row of f32 parameters, refilled when the group changes.
class GroupRow {
 public:
  GroupRow(int64_t dim, float absent) : values_(static_cast<size_t>(dim), absent) {}
  template <class T>
  const float* of(const T* rows, int64_t group, float offset) {
    if (rows != nullptr && group != group_) {
      group_ = group;
      fill_row(rows + group * static_cast<int64_t>(values_.size()), offset, values_.data(),
               static_cast<int64_t>(values_.size()));
    }
    return values_.data();
  }

 private:
  std::vector<float> values_;
  int64_t group_ = -1;
};

}  // namespace

void norm_rows_cpu(const NormRowsArgs& a) {
  RL_DISPATCH_FLOAT(a.dtype, T, {
    ThreadPool::instance().parallel_for(a.groups * a.rows, grain_for(a.dim), [&](int64_t begin, int64_t end) {
      GroupRow gains(a.dim, 1);
      GroupRow shifts(a.dim, 0);
      for (int64_t row = begin; row < end; ++row) {
        const int64_t group = row / a.rows;
        const T* x = static_cast<const T*>(a.x) + row * a.dim;
        float m[2];
        moments(x, a.dim, a.eps, m);
        apply_row(x, gains.of(static_cast<const T*>(a.gain), group, a.gain_offset),
                  shifts.of(static_cast<const T*>(a.shift), group, 0.0f), m[0], m[1], static_cast<T*>(a.y) + row * a.dim,
                  a.dim);
      }
    });
  });
}

void norm_rows_bwd_cpu(const NormRowsBwdArgs& a) {
  const int64_t chunks = chunks_of(a.rows), plane = a.groups * chunks * a.dim;
  const bool sums = a.dgain != nullptr || a.dshift != nullptr;
  RL_DISPATCH_FLOAT(a.dtype, T, {
    ThreadPool::instance().parallel_for(a.groups * chunks, 1, [&](int64_t begin, int64_t end) {
      GroupRow gains(a.dim, 1);
      for (int64_t task = begin; task < end; ++task) {
        const int64_t group = task / chunks;
        const int64_t first = (task % chunks) * kRowsPerChunk;
        const int64_t last = std::min(first + kRowsPerChunk, a.rows);
        const float* gain = gains.of(static_cast<const T*>(a.gain), group, a.gain_offset);
        float* dgain = sums ? a.partial + task * a.dim : nullptr;
        float* dshift = sums ? a.partial + plane + task * a.dim : nullptr;
        if (sums) {
          std::fill(dgain, dgain + a.dim, 0.0f);
          std::fill(dshift, dshift + a.dim, 0.0f);
        }
        for (int64_t row = group * a.rows + first; row < group * a.rows + last; ++row) {
          const T* x = static_cast<const T*>(a.x) + row * a.dim;
          const T* dy = static_cast<const T*>(a.dy) + row * a.dim;
          float m[2];
          moments(x, a.dim, a.eps, m);
          if (a.dx != nullptr) {
            float s[2];
            gradient_sums(dy, x, gain, m[0], m[1], a.dim, s);
            const float n = static_cast<float>(a.dim);
            gradient_row(dy, x, gain, m[0], m[1], s[0] / n, s[1] / n, static_cast<T*>(a.dx) + row * a.dim, a.dim);
          }
          if (sums) accumulate_row(dy, x, m[0], m[1], dgain, dshift, a.dim);
        }
      }
    });
  });
  if (a.dgain != nullptr) sum_chunks_cpu(a.partial, a.dgain, a.groups, chunks, a.dim, a.dtype);
  if (a.dshift != nullptr) sum_chunks_cpu(a.partial + plane, a.dshift, a.groups, chunks, a.dim, a.dtype);
}

}  // namespace rl
