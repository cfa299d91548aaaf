// How two operands meet an output under NumPy broadcasting: adjacent dimensions that both walk the same way are merged,
// so that the common cases (same shape, row vector, per-batch vector, scalar) become one or two loops.
#pragma once

#include "native/core/shape.h"

namespace rl {

struct BroadcastPlan {
  int rank = 0;                       // at least 1; the last entry is the inner loop
  int64_t size[Shape::kMaxRank] = {};
  int64_t step_a[Shape::kMaxRank] = {};  // elements of a per step of this dimension, 0 where a is repeated
  int64_t step_b[Shape::kMaxRank] = {};
  int64_t count = 0;                  // elements of the output
};

// Right-aligned sizes must be equal or 1. Throws ERR_SHAPE naming `op` and both shapes.
Shape broadcast_shape(const char* op, const Shape& a, const Shape& b);
BroadcastPlan broadcast_plan(const Shape& out, const Shape& a, const Shape& b);

}  // namespace rl
