// Internal: zero-padded planes, the form in which the CPU convolution reads its operands (see conv_cpu.h).
#pragma once

#include <cstdint>

#include "native/ops/conv/conv_cpu.h"

namespace rl::cpu {

// plane[(c * phases_h + py) * phases_w + px][r][q] = source[c][stride * (row0 + r) + py - pad_top][stride * q + px -
// pad_left], 0 outside.
struct PlaneLayout {
  int64_t channels, height, width;  // of the source image
  int64_t units;                    // channels, or pairs of channels (conv_amx.h)
  int64_t stride, phases_h, phases_w, pad_top, pad_left;
  int64_t rows, columns;            // of a plane
  int64_t plane_stride;             // words; the gap behind a plane is zero
  int64_t planes() const { return units * phases_h * phases_w; }
  int64_t unit_stride() const { return phases_h * phases_w * plane_stride; }
};

// The planes of a convolution's input, without the number of rows.
PlaneLayout input_layout(const ConvShape& s);
// Those of an image as it is, with zeros around: out_channels planes of dy.
PlaneLayout gradient_layout(const ConvShape& s, int64_t pad_top, int64_t pad_left, int64_t columns);
// The gap takes the reads of the last vector, shifted by the farthest tap (halo_w), so that no channel reads another's
// values.
void set_rows(PlaneLayout& layout, int64_t rows, int64_t halo_w);

// Fills all planes from row `row0` on; `image` is [channels, height, width]. `tail` floats behind the last plane become
// zero.
void fill_planes(const PlaneLayout& layout, DType dtype, const void* image, int64_t row0, float* planes, int64_t tail);

}  // namespace rl::cpu
