#include "native/ops/conv/conv_planes.h"

#include <algorithm>

#include "native/ops/dispatch.h"

namespace rl::cpu {
namespace {

using rl::to_float;

template <class T>
RL_VECTORIZED void copy_strided(const T* source, int64_t stride, float* out, int64_t count) {
  if (stride == 1) {
    for (int64_t i = 0; i < count; ++i) out[i] = to_float(source[i]);
  } else if (stride == 2) {
    for (int64_t i = 0; i < count; ++i) out[i] = to_float(source[2 * i]);
  } else {
    for (int64_t i = 0; i < count; ++i) out[i] = to_float(source[stride * i]);
  }
}

int64_t floor_div(int64_t a, int64_t b) { return a >= 0 ? a / b : -((-a + b - 1) / b); }

template <class T>
void fill(const PlaneLayout& l, const T* image, int64_t row0, float* planes, int64_t tail) {
  for (int64_t c = 0; c < l.channels; ++c) {
    for (int64_t py = 0; py < l.phases_h; ++py) {
      for (int64_t px = 0; px < l.phases_w; ++px, planes += l.plane_stride) {
        // Columns [first, last) of the plane lie in the source.
        const int64_t first = std::clamp<int64_t>(-floor_div(px - l.pad_left, l.stride), 0, l.columns);
        const int64_t last =
            std::clamp<int64_t>(floor_div(l.width - 1 + l.pad_left - px, l.stride) + 1, first, l.columns);
        for (int64_t r = 0; r < l.rows; ++r) {
          float* row = planes + r * l.columns;
          const int64_t y = l.stride * (row0 + r) + py - l.pad_top;
          if (y < 0 || y >= l.height) {
            std::fill(row, row + l.columns, 0.0f);
            continue;
          }
          std::fill(row, row + first, 0.0f);
          copy_strided(image + (c * l.height + y) * l.width + l.stride * first + px - l.pad_left, l.stride, row + first,
                       last - first);
          std::fill(row + last, row + l.columns, 0.0f);
        }
        std::fill(planes + l.rows * l.columns, planes + l.plane_stride, 0.0f);
      }
    }
  }
  std::fill(planes, planes + tail, 0.0f);
}

}  // namespace

PlaneLayout input_layout(const ConvShape& s) {
  PlaneLayout l{};
  l.channels = l.units = s.in_channels, l.height = s.in_h, l.width = s.in_w;
  l.stride = s.stride, l.pad_top = s.pad_top, l.pad_left = s.pad_left;
  l.phases_h = std::min(s.stride, s.kernel_h), l.phases_w = std::min(s.stride, s.kernel_w);
  l.columns = s.out_w + (s.kernel_w - 1) / s.stride;
  return l;
}

PlaneLayout gradient_layout(const ConvShape& s, int64_t pad_top, int64_t pad_left, int64_t columns) {
  PlaneLayout l{};
  l.channels = l.units = s.out_channels, l.height = s.out_h, l.width = s.out_w;
  l.stride = l.phases_h = l.phases_w = 1;
  l.pad_top = pad_top, l.pad_left = pad_left;
  l.columns = columns;
  return l;
}

void set_rows(PlaneLayout& l, int64_t rows, int64_t halo_w) {
  l.rows = rows;
  l.plane_stride = (rows * l.columns + halo_w + 31) / 16 * 16;
}

void fill_planes(const PlaneLayout& layout, DType dtype, const void* image, int64_t row0, float* planes, int64_t tail) {
  RL_DISPATCH_FLOAT(dtype, T, { fill(layout, static_cast<const T*>(image), row0, planes, tail); });
}

}  // namespace rl::cpu
