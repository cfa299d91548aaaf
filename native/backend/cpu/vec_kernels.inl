// Vector routines written once on GCC/Clang vector extensions and compiled for each ISA.
// The including file sets the target and defines kLanes first; everything here lies in its anonymous namespace.
// Where the target has fused multiply-add the compiler contracts a * b + c; the error bounds hold either way.

typedef float VF __attribute__((vector_size(kLanes * 4)));
typedef int32_t VI __attribute__((vector_size(kLanes * 4)));
typedef uint32_t VU __attribute__((vector_size(kLanes * 4)));
typedef uint16_t VH __attribute__((vector_size(kLanes * 2)));

inline VF splat(float x) { return VF{} + x; }
inline VF load(const float* p) {
  VF v;
  __builtin_memcpy(&v, p, sizeof v);
  return v;
}
inline void store(float* p, VF v) { __builtin_memcpy(p, &v, sizeof v); }
#if defined(RL_VEC_AVX512)
inline __mmask16 first_lanes(int64_t n) { return static_cast<__mmask16>((1u << n) - 1); }
inline VF load_part(const float* p, int64_t n) { return (VF)_mm512_maskz_loadu_ps(first_lanes(n), p); }
inline void store_part(float* p, VF v, int64_t n) { _mm512_mask_storeu_ps(p, first_lanes(n), (__m512)v); }
#else
inline VF load_part(const float* p, int64_t n) {
  VF v{};
  __builtin_memcpy(&v, p, static_cast<size_t>(n) * 4);
  return v;
}
inline void store_part(float* p, VF v, int64_t n) { __builtin_memcpy(p, &v, static_cast<size_t>(n) * 4); }
#endif
inline VF as_float(VI v) { return (VF)v; }
inline VI as_int(VF v) { return (VI)v; }
inline VF absolute(VF x) { return as_float(as_int(x) & 0x7FFFFFFF); }
inline VF with_sign_of(VF x, VF sign) { return as_float(as_int(x) | (as_int(sign) & INT32_MIN)); }
// A NaN in x is kept.
inline VF clamp_low(VF x, float low) { return x < splat(low) ? splat(low) : x; }
inline VF clamp_high(VF x, float high) { return x > splat(high) ? splat(high) : x; }

// e^x = 2^n e^r with |r| <= ln2/2. ln2 in two parts, so that n * kLn2High is exact; polynomial: minimax of
// (e^r - 1 - r) / r^2. 2^n in two factors, so that results near overflow and subnormal ones come out right.
inline VF v_exp(VF x) {
  constexpr float kMagic = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
  constexpr float kLn2High = 0.693359375f, kLn2Low = -2.12194440e-4f;
  x = clamp_high(clamp_low(x, -104.5f), 89.5f);
  const VF shifted = x * 1.44269504f + kMagic;
  const VF n = shifted - kMagic;
  const VF r = (x - n * kLn2High) - n * kLn2Low;
  VF p = splat(1.979025e-04f);
  p = p * r + 1.3944759e-03f;
  p = p * r + 8.333498e-03f;
  p = p * r + 4.1666295e-02f;
  p = p * r + 1.6666666e-01f;
  p = p * r + 5.0e-01f;
  p = (p * r * r + r) + 1.0f;
  const VI exponent = as_int(shifted) - as_int(splat(kMagic));
  const VI half = exponent >> 1;
  return p * as_float((half + 127) << 23) * as_float((exponent - half + 127) << 23);
}

// Odd polynomial for |x| < 0.625, 1 - 2 / (e^{2|x|} + 1) above.
inline VF v_tanh(VF x) {
  const VF t = absolute(x), s = x * x;
  VF p = splat(2.1429588e-03f);
  p = p * s + -8.177395e-03f;
  p = p * s + 2.17007e-02f;
  p = p * s + -5.3946763e-02f;
  p = p * s + 1.3333206e-01f;
  p = p * s + -3.333333e-01f;
  const VF small = p * s * x + x;
  const VF large = with_sign_of(1.0f - 2.0f / (v_exp(t + t) + 1.0f), x);
  return t < splat(0.625f) ? small : large;
}

// x + x P(x^2) for |x| < 0.93, 1 - e^{-|x| Q(|x|)} above (erf is 1 in f32 from 3.93 on).
inline VF v_erf(VF x) {
  const VF t = clamp_high(absolute(x), 4.0f), s = x * x;
  VF p = splat(8.3167724e-05f);
  p = p * s + -8.130012e-04f;
  p = p * s + 5.1999064e-03f;
  p = p * s + -2.685894e-02f;
  p = p * s + 1.12836875e-01f;
  p = p * s + -3.7612632e-01f;
  p = p * s + 1.28379167e-01f;
  const VF small = p * x + x;
  VF q = splat(1.1522464e-05f);
  q = q * t + -3.2565437e-04f;
  q = q * t + 3.6537705e-03f;
  q = q * t + -2.378536e-02f;
  q = q * t + 1.0626316e-01f;
  q = q * t + 6.351359e-01f;
  q = q * t + 1.1286522e+00f;
  const VF large = with_sign_of(1.0f - v_exp(-(q * t)), x);
  return t < splat(0.93f) ? small : large;
}

// With e^{-|x|}, which cannot overflow: both tails keep their relative precision.
inline VF v_sigmoid(VF x) {
  const VF t = v_exp(-absolute(x));
  return (x < VF{} ? t : splat(1.0f)) / (t + 1.0f);
}

constexpr float kSqrt2OverPi = 0.797884561f, kGeluCubic = 0.044715f, kSqrtHalf = 0.707106781f;
constexpr float kQuick = 1.702f, kInvSqrt2Pi = 0.398942280f;

template <Activation kActivation>
inline VF v_activation(VF x) {
  if constexpr (kActivation == Activation::gelu_tanh) {
    return x * 0.5f * (v_tanh((x * x * x * kGeluCubic + x) * kSqrt2OverPi) + 1.0f);
  } else if constexpr (kActivation == Activation::gelu_erf) {
    return x * 0.5f * (v_erf(x * kSqrtHalf) + 1.0f);
  } else if constexpr (kActivation == Activation::quick_gelu) {
    return x * v_sigmoid(x * kQuick);
  } else if constexpr (kActivation == Activation::silu) {
    return x * v_sigmoid(x);
  } else if constexpr (kActivation == Activation::relu) {
    return clamp_low(x, 0.0f);
  } else {
    return x;
  }
}

template <Activation kActivation>
inline VF v_derivative(VF x) {
  if constexpr (kActivation == Activation::gelu_tanh) {
    const VF t = v_tanh((x * x * x * kGeluCubic + x) * kSqrt2OverPi);
    const VF inner = (x * x * (3 * kGeluCubic) + 1.0f) * kSqrt2OverPi;
    return (t + 1.0f) * 0.5f + x * 0.5f * (1.0f - t * t) * inner;
  } else if constexpr (kActivation == Activation::gelu_erf) {
    return (v_erf(x * kSqrtHalf) + 1.0f) * 0.5f + x * v_exp(x * x * -0.5f) * kInvSqrt2Pi;
  } else if constexpr (kActivation == Activation::quick_gelu) {
    const VF s = v_sigmoid(x * kQuick);
    return s + x * kQuick * s * (1.0f - s);
  } else if constexpr (kActivation == Activation::silu) {
    const VF s = v_sigmoid(x);
    return s + x * s * (1.0f - s);
  } else if constexpr (kActivation == Activation::relu) {
    // Written so that NaN stays NaN.
    return x > splat(0.0f) ? splat(1.0f) : (x <= splat(0.0f) ? splat(0.0f) : x);
  } else {
    return splat(1.0f);
  }
}

// Applies op to whole vectors and once to the padded rest.
template <VF (*kOp)(VF)>
void map(const float* in, float* out, int64_t count) {
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) store(out + i, kOp(load(in + i)));
  if (i < count) store_part(out + i, kOp(load_part(in + i, count - i)), count - i);
}

template <Activation kActivation>
void map_grad(const float* x, const float* dy, float* dx, int64_t count) {
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) store(dx + i, load(dy + i) * v_derivative<kActivation>(load(x + i)));
  if (i < count) {
    const int64_t n = count - i;
    store_part(dx + i, load_part(dy + i, n) * v_derivative<kActivation>(load_part(x + i, n)), n);
  }
}

void activation(Activation kind, const float* x, float* y, int64_t count) {
  switch (kind) {
    case Activation::none: return map<v_activation<Activation::none>>(x, y, count);
    case Activation::gelu_tanh: return map<v_activation<Activation::gelu_tanh>>(x, y, count);
    case Activation::gelu_erf: return map<v_activation<Activation::gelu_erf>>(x, y, count);
    case Activation::quick_gelu: return map<v_activation<Activation::quick_gelu>>(x, y, count);
    case Activation::silu: return map<v_activation<Activation::silu>>(x, y, count);
    case Activation::relu: return map<v_activation<Activation::relu>>(x, y, count);
  }
}

void activation_grad(Activation kind, const float* x, const float* dy, float* dx, int64_t count) {
  switch (kind) {
    case Activation::none: return map_grad<Activation::none>(x, dy, dx, count);
    case Activation::gelu_tanh: return map_grad<Activation::gelu_tanh>(x, dy, dx, count);
    case Activation::gelu_erf: return map_grad<Activation::gelu_erf>(x, dy, dx, count);
    case Activation::quick_gelu: return map_grad<Activation::quick_gelu>(x, dy, dx, count);
    case Activation::silu: return map_grad<Activation::silu>(x, dy, dx, count);
    case Activation::relu: return map_grad<Activation::relu>(x, dy, dx, count);
  }
}

inline VF from_bf16(VH bits) { return as_float((VI)(__builtin_convertvector(bits, VU) << 16)); }
inline VH to_bf16_bits(VF x) {
  const VU bits = (VU)x;
  const VU rounded = (bits + 0x7FFFu + ((bits >> 16) & 1u)) >> 16;
  const VU quiet = (bits >> 16) | 0x40u;
  return __builtin_convertvector((x != x) ? quiet : rounded, VH);
}

void bulk_to_float(const bf16* in, float* out, int64_t count) {
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    VH bits;
    __builtin_memcpy(&bits, in + i, sizeof bits);
    store(out + i, from_bf16(bits));
  }
  for (; i < count; ++i) {
    const uint32_t bits = static_cast<uint32_t>(in[i].bits) << 16;
    __builtin_memcpy(out + i, &bits, 4);
  }
}

void bulk_to_bf16(const float* in, bf16* out, int64_t count) {
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    const VH bits = to_bf16_bits(load(in + i));
    __builtin_memcpy(out + i, &bits, sizeof bits);
  }
  if (i < count) {
    const VH bits = to_bf16_bits(load_part(in + i, count - i));
    __builtin_memcpy(out + i, &bits, static_cast<size_t>(count - i) * 2);
  }
}

template <Activation kActivation>
void epilogue(int64_t rows, int64_t columns, const float* sums, int64_t sums_stride, void* c, bool c_is_bf16,
              int64_t c_stride, float alpha, const float* bias, bool accumulate) {
  for (int64_t i = 0; i < rows; ++i) {
    const float* in = sums + i * sums_stride;
    float* out = static_cast<float*>(c) + i * c_stride;
    bf16* out_half = static_cast<bf16*>(c) + i * c_stride;
    for (int64_t j = 0; j < columns; j += kLanes) {
      const int64_t n = columns - j < kLanes ? columns - j : kLanes;
      const bool whole = n == kLanes;
      VF x = (whole ? load(in + j) : load_part(in + j, n)) * alpha;
      if (bias) x += whole ? load(bias + j) : load_part(bias + j, n);
      x = v_activation<kActivation>(x);
      if (c_is_bf16) {
        VH bits{};
        if (accumulate) {
          if (whole) __builtin_memcpy(&bits, out_half + j, sizeof bits);
          else __builtin_memcpy(&bits, out_half + j, static_cast<size_t>(n) * 2);
          x += from_bf16(bits);
        }
        bits = to_bf16_bits(x);
        // A copy of constant size is one store; of variable size a call.
        if (whole) __builtin_memcpy(out_half + j, &bits, sizeof bits);
        else __builtin_memcpy(out_half + j, &bits, static_cast<size_t>(n) * 2);
      } else {
        if (accumulate) x += whole ? load(out + j) : load_part(out + j, n);
        if (whole) store(out + j, x);
        else store_part(out + j, x, n);
      }
    }
  }
}

void gemm_epilogue(int64_t rows, int64_t columns, const float* sums, int64_t sums_stride, void* c, bool c_is_bf16,
                   int64_t c_stride, float alpha, const float* bias, Activation kind, bool accumulate) {
  auto run = epilogue<Activation::none>;
  switch (kind) {
    case Activation::none: break;
    case Activation::gelu_tanh: run = epilogue<Activation::gelu_tanh>; break;
    case Activation::gelu_erf: run = epilogue<Activation::gelu_erf>; break;
    case Activation::quick_gelu: run = epilogue<Activation::quick_gelu>; break;
    case Activation::silu: run = epilogue<Activation::silu>; break;
    case Activation::relu: run = epilogue<Activation::relu>; break;
  }
  run(rows, columns, sums, sums_stride, c, c_is_bf16, c_stride, alpha, bias, accumulate);
}

// Lanes are combined in halves: by 4-lane pieces, which every ISA has, then the four.
typedef float V4 __attribute__((vector_size(16)));
inline float sum_lanes(VF v) {
  V4 piece[kLanes / 4];
  __builtin_memcpy(piece, &v, sizeof v);
  for (int width = kLanes / 8; width > 0; width /= 2)
    for (int i = 0; i < width; ++i) piece[i] += piece[i + width];
  return (piece[0][0] + piece[0][2]) + (piece[0][1] + piece[0][3]);
}
inline float max_lanes(VF v) {
  V4 piece[kLanes / 4];
  __builtin_memcpy(piece, &v, sizeof v);
  for (int width = kLanes / 8; width > 0; width /= 2)
    for (int i = 0; i < width; ++i) piece[i] = piece[i] > piece[i + width] ? piece[i] : piece[i + width];
  const float a = piece[0][0] > piece[0][1] ? piece[0][0] : piece[0][1];
  const float b = piece[0][2] > piece[0][3] ? piece[0][2] : piece[0][3];
  return a > b ? a : b;
}

// e^x for x <= 0, NaN kept; 0 below -87, so one factor 2^n is enough. Relative error 2e-7.
inline VF v_exp_of_negative(VF x) {
  constexpr float kMagic = 12582912.0f, kLn2High = 0.693359375f, kLn2Low = -2.12194440e-4f;
  const VF shifted = x * 1.44269504f + kMagic;  // the low bits of kMagic's pattern are zero: the shift below drops it
  const VF n = shifted - kMagic;
  const VF r = (x - n * kLn2High) - n * kLn2Low;
  VF p = splat(1.3814465e-03f);
  p = p * r + 8.368781e-03f;
  p = p * r + 4.1668393e-02f;
  p = p * r + 1.666652e-01f;
  p = p * r + 4.9999994e-01f;
  p = (p * r * r + r) + 1.0f;
  p = p * as_float((as_int(shifted) << 23) + 0x3F800000);
  return x < splat(-87.0f) ? VF{} : p;
}

float softmax_step(int64_t count, float* scores, float scale, const float* bias, float* row_max, float* row_sum) {
  const float kNone = -__builtin_inff();
  const int64_t padded = (count + kLanes - 1) / kLanes * kLanes;
  if (bias || scale < 0) {
    for (int64_t j = 0; j < count; j += kLanes) {
      VF x = load(scores + j) * scale;
      if (bias) x += count - j >= kLanes ? load(bias + j) : load_part(bias + j, count - j);
      store(scores + j, x);
    }
    scale = 1;
  }
  for (int64_t j = count; j < padded; ++j) scores[j] = kNone;
  // Two chains of comparisons, because one would wait for its own latency.
  VF best = splat(kNone), other = best;
  int64_t j = 0;
  for (; j + 2 * kLanes <= padded; j += 2 * kLanes) {
    const VF x = load(scores + j), y = load(scores + j + kLanes);
    best = x > best ? x : best;
    other = y > other ? y : other;
  }
  if (j < padded) {
    const VF x = load(scores + j);
    best = x > best ? x : best;
  }
  const float highest = max_lanes(best > other ? best : other);
  const float old = *row_max, here = highest == kNone ? kNone : highest * scale;
  const float top = here > old ? here : old;
  // Every score so far is -inf (or NaN): subtract nothing, so that exp gives 0 (or NaN).
  const float base = top == kNone ? 0.0f : top;
  VF sum{};
  for (j = 0; j + kLanes < padded; j += kLanes) {
    const VF p = v_exp_of_negative(load(scores + j) * scale - base);
    store(scores + j, p);
    sum += p;
  }
  if (j < padded) {  // lanes past the end count for nothing, whatever the scale made of them
    VF p = v_exp_of_negative(load(scores + j) * scale - base);
    store(scores + j, p);
    sum += load_part(scores + j, count - j);
  }
  const float factor = old == kNone ? 0.0f : v_exp_of_negative(splat(old - base))[0];
  *row_sum = *row_sum * factor + sum_lanes(sum);
  *row_max = top;
  return factor;
}

void softmax_grad(int64_t count, float* scores, float* grads, float scale, const float* bias, float lse, float delta) {
  if (lse == -__builtin_inff()) {
    for (int64_t j = 0; j < count; ++j) scores[j] = grads[j] = 0.0f;
    return;
  }
  for (int64_t j = 0; j < count; j += kLanes) {
    VF x = load(scores + j) * scale - lse;
    if (bias) x += count - j >= kLanes ? load(bias + j) : load_part(bias + j, count - j);
    const VF p = v_exp(x);
    store(scores + j, p);
    store(grads + j, p * (load(grads + j) - delta));
  }
}

void scale_row(float* x, float factor, int64_t count) {
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) store(x + i, load(x + i) * factor);
  for (; i < count; ++i) x[i] *= factor;
}

void axpy(float factor, const float* x, float* y, int64_t count) {
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) store(y + i, load(x + i) * factor + load(y + i));
  for (; i < count; ++i) y[i] += factor * x[i];
}

float dot(const float* x, const float* y, int64_t count) {
  VF sum{};
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) sum += load(x + i) * load(y + i);
  if (i < count) sum += load_part(x + i, count - i) * load_part(y + i, count - i);
  return sum_lanes(sum);
}

const VecKernels kKernels{map<v_exp>,    map<v_tanh>,  map<v_erf>,    map<v_sigmoid>, activation,
                          activation_grad, bulk_to_float, bulk_to_bf16, gemm_epilogue,  softmax_step,
                          softmax_grad,  scale_row,    axpy,          dot};
