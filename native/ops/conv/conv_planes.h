// Internal: zero-padded planes, the form in which the CPU convolution reads its operands (see conv_cpu.h).
#pragma once

#include <cstdint>

#include "native/core/dtype.h"

namespace rl::cpu {

// plane[(c * phases_h + py) * phases_w + px][r][q] = source[c][stride * (row0 + r) + py - pad_top][stride * q + px - pad_left], 0 outside.
struct PlaneLayout {
  int64_t channels, height, width;  // of the source image
  int64_t stride, phases_h, phases_w, pad_top, pad_left;
  int64_t rows, columns;            // of a plane
  int64_t plane_stride;             // floats; the gap behind a plane is zero
  int64_t planes() const { return channels * phases_h * phases_w; }
  // Can a plane be read in the source itself?
  bool identity() const {
    return stride == 1 && phases_h == 1 && phases_w == 1 && pad_top == 0 && pad_left == 0 && columns == width;
  }
};

// Fills all planes from row `row0` on; `image` is [channels, height, width]. `tail` floats behind the last plane become zero.
void fill_planes(const PlaneLayout& layout, DType dtype, const void* image, int64_t row0, float* planes, int64_t tail);

}  // namespace rl::cpu
