// Packing for the 512-bit kernels, shared by gemm_avx512.cc and gemm_amx.cc (included inside their namespace).
//
// The unit is 32 bits: one f32, or a pair of bf16 neighbours along k (what vdpbf16ps and tdpbf16ps multiply). Operands
// are read as blocks of 16 vectors x 16 units, in registers, and written as they are or transposed.

inline __mmask16 first16(int64_t count) {
  return static_cast<__mmask16>(count >= 16 ? 0xFFFF : count <= 0 ? 0 : (1 << count) - 1);
}

// f32 -> bf16 bits in the low half of each lane: nearest even, NaN stays NaN.
inline __m512i round_bits(__m512 x) {
  const __m512i bits = _mm512_castps_si512(x);
  const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
  const __m512i rounded = _mm512_srli_epi32(_mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7FFF))), 16);
  const __m512i quiet = _mm512_or_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(0x40));
  return _mm512_mask_blend_epi32(_mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q), rounded, quiet);
}

inline __m512i load_half(const void* data, int64_t at, int64_t count) {  // 16 bf16, one per lane
  return _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(first16(count), static_cast<const bf16*>(data) + at));
}
inline __m512 load_single(const void* data, int64_t at, int64_t count) {
  return _mm512_maskz_loadu_ps(first16(count), static_cast<const float*>(data) + at);
}

// 16 units along k of one vector, from element `at`; `count` elements are left.
template <bool kPairs>
inline __m512i load_along_k(const PanelSource& source, int64_t at, int64_t count, bool round_bf16) {
  if constexpr (kPairs) {
    if (source.type == ElementType::bf16) {
      const uint32_t mask = count >= 32 ? ~0u : (1u << count) - 1;
      return _mm512_maskz_loadu_epi16(mask, static_cast<const bf16*>(source.data) + at);
    }
    const __m512i low = round_bits(load_single(source.data, at, count));
    const __m512i high = round_bits(load_single(source.data, at + 16, count - 16));
    return _mm512_inserti64x4(_mm512_castsi256_si512(_mm512_cvtepi32_epi16(low)), _mm512_cvtepi32_epi16(high), 1);
  } else {
    if (source.type == ElementType::bf16) return _mm512_slli_epi32(load_half(source.data, at, count), 16);
    const __m512 x = load_single(source.data, at, count);
    return round_bf16 ? _mm512_slli_epi32(round_bits(x), 16) : _mm512_castps_si512(x);
  }
}

// The unit at k of 16 neighbouring vectors from w; `count` vectors are left, `k_left` elements from k on.
template <bool kPairs>
inline __m512i load_across(const PanelSource& source, int64_t w, int64_t count, int64_t k, int64_t k_left,
                           bool round_bf16) {
  const int64_t at = k * source.stride + w;
  if constexpr (kPairs) {
    const int64_t next = k_left > 1 ? count : 0;
    const __m512i even = source.type == ElementType::bf16 ? load_half(source.data, at, count)
                                                           : round_bits(load_single(source.data, at, count));
    const __m512i odd = source.type == ElementType::bf16
                            ? load_half(source.data, at + (next ? source.stride : 0), next)
                            : round_bits(load_single(source.data, at + (next ? source.stride : 0), next));
    return _mm512_or_si512(even, _mm512_slli_epi32(odd, 16));
  } else {
    if (source.type == ElementType::bf16) return _mm512_slli_epi32(load_half(source.data, at, count), 16);
    const __m512 x = load_single(source.data, at, count);
    return round_bf16 ? _mm512_slli_epi32(round_bits(x), 16) : _mm512_castps_si512(x);
  }
}

__attribute__((always_inline)) inline void transpose16(__m512i* r) {
  __m512i t[16];
  for (int i = 0; i < 16; i += 2) {
    t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
    t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
  }
  for (int i = 0; i < 16; i += 4) {
    r[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
    r[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
    r[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
    r[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
  }
  for (int i = 0; i < 4; ++i) {
    t[i] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0x88);
    t[i + 4] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0xDD);
    t[i + 8] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0x88);
    t[i + 12] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0xDD);
  }
  for (int i = 0; i < 4; ++i) {
    r[i] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0x88);
    r[i + 4] = _mm512_shuffle_i32x4(t[i + 4], t[i + 12], 0x88);
    r[i + 8] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0xDD);
    r[i + 12] = _mm512_shuffle_i32x4(t[i + 4], t[i + 12], 0xDD);
  }
}

// A whole block of pairs, before the transposition: no masks, and the bf16 conversion is one instruction for two vectors.
__attribute__((always_inline)) inline void load_whole_pairs(__m512i* rows, const PanelSource& source, int64_t w, int64_t k) {
  const int64_t stride = source.stride;
  if (source.k_contiguous) {
    if (source.type == ElementType::bf16) {
      const bf16* in = static_cast<const bf16*>(source.data) + w * stride + k;
      for (int i = 0; i < 16; ++i, in += stride) rows[i] = _mm512_loadu_si512(in);
    } else {
      const float* in = static_cast<const float*>(source.data) + w * stride + k;
      for (int i = 0; i < 16; ++i, in += stride)
        rows[i] = (__m512i)_mm512_cvtne2ps_pbh(_mm512_loadu_ps(in + 16), _mm512_loadu_ps(in));
    }
    return;
  }
  // [16 even | 16 odd] -> pairs
  const __m512i order = _mm512_or_si512(_mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0),
                                        _mm512_set_epi32(31 << 16, 30 << 16, 29 << 16, 28 << 16, 27 << 16, 26 << 16,
                                                         25 << 16, 24 << 16, 23 << 16, 22 << 16, 21 << 16, 20 << 16,
                                                         19 << 16, 18 << 16, 17 << 16, 16 << 16));
  if (source.type == ElementType::bf16) {
    const bf16* in = static_cast<const bf16*>(source.data) + k * stride + w;
    for (int i = 0; i < 16; ++i, in += 2 * stride) {
      const __m256i even = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(in));
      const __m256i odd = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(in + stride));
      rows[i] = _mm512_permutexvar_epi16(order, _mm512_inserti64x4(_mm512_castsi256_si512(even), odd, 1));
    }
  } else {
    const float* in = static_cast<const float*>(source.data) + k * stride + w;
    for (int i = 0; i < 16; ++i, in += 2 * stride)
      rows[i] = _mm512_permutexvar_epi16(
          order, (__m512i)_mm512_cvtne2ps_pbh(_mm512_loadu_ps(in + stride), _mm512_loadu_ps(in)));
  }
}

// One block: vectors [w, w + 16) x units from element k. Row r of the result is vector w + r (kByVector) or unit r.
template <bool kPairs, bool kByVector>
inline void load_block(__m512i* rows, const PanelSource& source, int64_t w, int64_t w_left, int64_t k, int64_t k_left,
                       bool round_bf16) {
  constexpr int kStep = kPairs ? 2 : 1;
  if (kPairs && w_left >= 16 && k_left >= 32) {
    load_whole_pairs(rows, source, w, k);
  } else if (source.k_contiguous) {
    for (int i = 0; i < 16; ++i)
      rows[i] = i < w_left ? load_along_k<kPairs>(source, (w + i) * source.stride + k, k_left, round_bf16)
                           : _mm512_setzero_si512();
  } else {
    for (int i = 0; i < 16; ++i)
      rows[i] = i * kStep < k_left
                    ? load_across<kPairs>(source, w, w_left, k + i * kStep, k_left - i * kStep, round_bf16)
                    : _mm512_setzero_si512();
  }
  if (source.k_contiguous != kByVector) transpose16(rows);
}

// Panel layout [k unit][kWidth]: what a kernel that broadcasts A and loads rows of B reads.
template <int kWidth, bool kPairs>
void pack_rows_of_units(void* panel, const PanelSource& source, int64_t w0, int w_count, int64_t k0, int64_t k_count,
                        bool round_bf16) {
  constexpr int kStep = kPairs ? 2 : 1;
  uint32_t* out = static_cast<uint32_t*>(panel);
  const int64_t units = (k_count + kStep - 1) / kStep;
  if (!source.k_contiguous) {
    for (int64_t unit = 0; unit < units; ++unit)
      for (int w = 0; w < kWidth; w += 16)
        _mm512_mask_storeu_epi32(out + unit * kWidth + w, first16(kWidth - w),
                                 load_across<kPairs>(source, w0 + w, w_count - w, k0 + unit * kStep,
                                                     k_count - unit * kStep, round_bf16));
    return;
  }
  for (int64_t unit = 0; unit < units; unit += 16)
    for (int w = 0; w < kWidth; w += 16) {
      __m512i rows[16];
      load_block<kPairs, false>(rows, source, w0 + w, w_count - w, k0 + unit * kStep, k_count - unit * kStep,
                                round_bf16);
      const __mmask16 mask = first16(kWidth - w);
      const int n = static_cast<int>(units - unit < 16 ? units - unit : 16);
      for (int i = 0; i < n; ++i) _mm512_mask_storeu_epi32(out + (unit + i) * kWidth + w, mask, rows[i]);
    }
}
