#include "native/backend/convert.h"

#include <cmath>
#include <cstring>

namespace rl {

namespace {

template <class T>
T load(const void* source, int64_t i) {
  T value;
  std::memcpy(&value, static_cast<const char*>(source) + i * static_cast<int64_t>(sizeof(T)), sizeof(T));
  return value;
}

float from_bf16(uint16_t bits) {
  const uint32_t wide = static_cast<uint32_t>(bits) << 16;
  float value;
  std::memcpy(&value, &wide, 4);
  return value;
}

uint16_t to_bf16(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, 4);
  if ((bits & 0x7FFFFFFF) > 0x7F800000) return static_cast<uint16_t>((bits >> 16) | 0x40);  // keep NaN a NaN
  return static_cast<uint16_t>((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16);
}

float from_f16(uint16_t half) {
  const int exponent = (half >> 10) & 0x1F;
  const int mantissa = half & 0x3FF;
  float value = exponent == 0    ? std::ldexp(static_cast<float>(mantissa), -24)
                : exponent == 31 ? (mantissa ? NAN : INFINITY)
                                 : std::ldexp(static_cast<float>(mantissa | 0x400), exponent - 25);
  return half & 0x8000 ? -value : value;
}

double read_number(const void* source, DType from, int64_t i) {
  switch (from) {
    case DType::f32: return load<float>(source, i);
    case DType::bf16: return from_bf16(load<uint16_t>(source, i));
    case DType::f16: return from_f16(load<uint16_t>(source, i));
    case DType::f64: return load<double>(source, i);
    case DType::i64: return static_cast<double>(load<int64_t>(source, i));
    case DType::i32: return load<int32_t>(source, i);
    case DType::i16: return load<int16_t>(source, i);
    case DType::i8: return load<int8_t>(source, i);
    default: return load<uint8_t>(source, i);
  }
}

}  // namespace

void convert_elements(void* destination, DType to, const void* source, DType from, int64_t count) {
  if (to == from) {
    if (count > 0) std::memcpy(destination, source, static_cast<size_t>(count) * size_of(to));
    return;
  }
  switch (to) {
    case DType::f32:
      for (int64_t i = 0; i < count; ++i) static_cast<float*>(destination)[i] = static_cast<float>(read_number(source, from, i));
      return;
    case DType::bf16:
      for (int64_t i = 0; i < count; ++i)
        static_cast<uint16_t*>(destination)[i] = to_bf16(static_cast<float>(read_number(source, from, i)));
      return;
    case DType::i32:
      for (int64_t i = 0; i < count; ++i) static_cast<int32_t*>(destination)[i] = static_cast<int32_t>(read_number(source, from, i));
      return;
    case DType::u8:
      for (int64_t i = 0; i < count; ++i) static_cast<uint8_t*>(destination)[i] = static_cast<uint8_t>(read_number(source, from, i));
      return;
    default:
      throw Error(code::kShape, str("cannot convert ", name_of(from), " to ", name_of(to)));
  }
}

void upload_converted(Device& device, void* destination, DType to, const void* source, DType from, int64_t count,
                      std::shared_ptr<const void> keep) {
  if (device.kind() == DeviceKind::cpu) {
    device.enqueue("load weights", [=] {
      convert_elements(destination, to, source, from, count);
      (void)keep;
    });
    return;
  }
  if (device.kind() == DeviceKind::null) return;
  if (to == from) {
    device.upload(destination, source, static_cast<size_t>(count) * size_of(to));
    return;
  }
  std::vector<char> staged(static_cast<size_t>(count) * size_of(to));
  convert_elements(staged.data(), to, source, from, count);
  device.upload(destination, staged.data(), staged.size());
}

}  // namespace rl
